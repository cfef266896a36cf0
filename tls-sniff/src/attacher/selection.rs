//! Which interfaces are to be watched.

use std::collections::BTreeSet;

use crate::{error::Error, interfaces::Interface};

/// The index of loopback in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// Which interfaces to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All that are up, also those that appear later.
    Any,
    /// Those with these names.
    Named(BTreeSet<String>),
}

impl Selection {
    /// Those of a command line; `any` among them takes all.
    #[must_use]
    pub fn of(names: &[String]) -> Self {
        if names.iter().any(|name| name == "any") {
            Self::Any
        } else {
            Self::Named(names.iter().cloned().collect())
        }
    }

    pub(crate) fn wants(&self, interface: &Interface) -> bool {
        match self {
            Self::Any => interface.up,
            Self::Named(names) => names.contains(&interface.name),
        }
    }

    /// Whether a packet may be seen more than once: on several interfaces, or on its way out of loopback and in
    /// again.
    pub(super) fn sees_twice(&self, found: &[Interface]) -> bool {
        let loopback = |interface: &Interface| interface.index == LOOPBACK && self.wants(interface);
        match self {
            Self::Any => true,
            Self::Named(names) => names.len() > 1 || found.iter().any(loopback),
        }
    }

    /// Every interface that was named must be there at the start.
    pub(super) fn check(&self, found: &[Interface]) -> Result<(), Error> {
        let Self::Named(names) = self else { return Ok(()) };
        match names.iter().find(|name| !found.iter().any(|interface| interface.name == **name)) {
            None => Ok(()),
            Some(name) => Err(Error::NoSuchInterface {
                name: name.clone(),
                available: found.iter().map(|interface| interface.name.clone()).collect(),
            }),
        }
    }
}
