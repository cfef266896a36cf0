//! The interfaces that a connection's segments were seen on.

use std::sync::Arc;

use crate::dedup::{MAX_INTERFACES, SeenOn};

/// Sets of names that are shared by the connections that were seen there; more are made, but not shared.
const SHARED: usize = 64;

/// Names, in the order of sighting, each once; at most [`MAX_INTERFACES`].
#[derive(Debug, PartialEq, Eq)]
struct Names(Vec<Box<str>>);

/// The interfaces of one connection.
#[derive(Debug, Default)]
pub(super) struct Interfaces(Option<Arc<Names>>);

/// Where the name stands of the interface that the last segment was seen on first.
pub(super) type Last = u8;

/// The sets of names of late.
#[derive(Debug, Default)]
pub(super) struct Shared(Vec<Arc<Names>>);

impl Shared {
    /// The names of `old` and another one.
    fn with(&mut self, old: &[Box<str>], name: &str) -> Arc<Names> {
        let is_it = |names: &Arc<Names>| {
            names.0.split_last().is_some_and(|(last, first)| **last == *name && first == old)
        };
        if let Some(names) = self.0.iter().find(|names| is_it(names)) {
            return Arc::clone(names);
        }
        let mut names = Vec::with_capacity(old.len() + 1);
        names.extend_from_slice(old);
        names.push(name.into());
        let names = Arc::new(Names(names));
        if self.0.len() >= SHARED {
            self.0.remove(0);
        }
        self.0.push(Arc::clone(&names));
        names
    }
}

impl Interfaces {
    /// Takes those of a segment.
    pub(super) fn add(&mut self, on: SeenOn<'_>, shared: &mut Shared) -> Last {
        #[expect(clippy::cast_possible_truncation, reason = "at most MAX_INTERFACES")]
        let place = on.interface.map_or(MAX_INTERFACES, |name| self.place(name, shared)) as u8;
        for name in on.others {
            self.place(name, shared);
        }
        place
    }

    fn all(&self) -> &[Box<str>] {
        self.0.as_ref().map_or(&[], |names| &names.0)
    }

    /// Where a name stands; behind the end if there was no room for it.
    fn place(&mut self, name: &str, shared: &mut Shared) -> usize {
        let known = self.all().iter().position(|known| **known == *name);
        known.unwrap_or_else(|| {
            let place = self.all().len();
            if place < MAX_INTERFACES {
                self.0 = Some(shared.with(self.all(), name));
            }
            place
        })
    }

    /// The one that the last segment was seen on first.
    pub(super) fn last(&self, last: Last) -> Option<&str> {
        self.all().get(usize::from(last)).map(AsRef::as_ref)
    }

    /// All names.
    pub(super) fn names(&self) -> Vec<&str> {
        self.all().iter().map(AsRef::as_ref).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_once_and_not_all() {
        let mut interfaces = Interfaces::default();
        let shared = &mut Shared::default();
        let last = interfaces.add(SeenOn::default(), shared);
        assert_eq!((interfaces.last(last), interfaces.names().len()), (None, 0));
        interfaces.add(SeenOn { interface: Some("veth0"), others: &["br0", "eth0"] }, shared);
        let last = interfaces.add(SeenOn { interface: Some("eth0"), others: &["veth0"] }, shared);
        assert_eq!(interfaces.names(), ["veth0", "br0", "eth0"]);
        assert_eq!(interfaces.last(last), Some("eth0"));
        let mut last = 0;
        for name in ["a", "b", "c", "d", "e", "f"] {
            last = interfaces.add(SeenOn::one(Some(name)), shared);
        }
        assert_eq!(interfaces.names().len(), MAX_INTERFACES);
        assert_eq!(interfaces.last(last), None, "there was no room for it");
    }

    #[test]
    fn connections_share_names() {
        let shared = &mut Shared::default();
        let mut seen_on = |names: [&'static str; 2]| {
            let mut interfaces = Interfaces::default();
            interfaces.add(SeenOn { interface: Some(names[0]), others: &names[1..] }, shared);
            interfaces
        };
        let names: Vec<String> = (0..SHARED).map(|number| format!("veth{number}")).collect();
        let [one, same, other] = [["a", "b"], ["a", "b"], ["b", "a"]].map(&mut seen_on);
        assert!(Arc::ptr_eq(one.0.as_ref().unwrap(), same.0.as_ref().unwrap()));
        assert_eq!((one.names(), other.names()), (vec!["a", "b"], vec!["b", "a"]));
        for name in &names {
            let mut interfaces = Interfaces::default();
            interfaces.add(SeenOn::one(Some(name)), shared);
            assert_eq!(interfaces.names(), [name]);
        }
        assert_eq!(shared.0.len(), SHARED);
        assert_eq!(one.names(), ["a", "b"], "its own, whoever else has forgotten them");
    }
}
