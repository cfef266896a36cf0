//! The interfaces of a packet by name.

use super::MAX_INTERFACES;

/// The interfaces that a packet was seen on, by name.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeenOn<'a> {
    /// The first one, if it has a name.
    pub interface: Option<&'a str>,
    /// All others, in the order of sighting, each once.
    pub others: &'a [&'a str],
}

impl<'a> SeenOn<'a> {
    /// One interface, or none that has a name.
    #[must_use]
    pub const fn one(interface: Option<&'a str>) -> Self {
        Self { interface, others: &[] }
    }

    /// By names, the first one's first.
    #[must_use]
    pub const fn all(names: &'a [&'a str]) -> Self {
        match names {
            [first, others @ ..] => Self { interface: Some(first), others },
            [] => Self { interface: None, others: &[] },
        }
    }

    /// Gives the names of interfaces by index to `take`; those without a name are left out.
    pub fn of<T>(
        indices: &[u32],
        name: impl Fn(u32) -> Option<&'a str>,
        take: impl FnOnce(SeenOn<'_>) -> T,
    ) -> T {
        let mut names = [""; MAX_INTERFACES];
        let mut count = 0;
        for found in indices.iter().filter_map(|index| name(*index)) {
            let fresh = names.iter().take(count).all(|name| *name != found);
            if let Some(place) = names.get_mut(count).filter(|_| fresh) {
                *place = found;
                count += 1;
            }
        }
        take(SeenOn::all(names.get(..count).unwrap_or_default()))
    }

    /// All names, the first one's first.
    pub fn names(self) -> impl Iterator<Item = &'a str> + Clone {
        self.interface.into_iter().chain(self.others.iter().copied())
    }
}
