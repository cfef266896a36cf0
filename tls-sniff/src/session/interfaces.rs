//! The interfaces that a connection's segments were seen on.

use crate::dedup::{MAX_INTERFACES, SeenOn};

/// Names, in the order of sighting, each once; at most [`MAX_INTERFACES`].
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    names: Vec<Box<str>>,
    /// Where the name stands of the one that the last segment was seen on first.
    last: usize,
}

impl Interfaces {
    /// Takes those of a segment.
    pub(super) fn add(&mut self, on: SeenOn<'_>) {
        self.last = on.interface.map_or(MAX_INTERFACES, |name| self.place(name));
        for name in on.others {
            self.place(name);
        }
    }

    /// Where a name stands; behind the end if there was no room for it.
    fn place(&mut self, name: &str) -> usize {
        let known = self.names.iter().position(|known| **known == *name);
        known.unwrap_or_else(|| {
            let place = self.names.len();
            if place < MAX_INTERFACES {
                self.names.push(name.into());
            }
            place
        })
    }

    /// The one that the last segment was seen on first.
    pub(super) fn last(&self) -> Option<&str> {
        self.names.get(self.last).map(AsRef::as_ref)
    }

    /// All names.
    pub(super) fn names(&self) -> Vec<&str> {
        self.names.iter().map(AsRef::as_ref).collect()
    }

    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        let names: usize = self.names.iter().map(|name| name.len()).sum();
        self.names.capacity() * size_of::<Box<str>>() + names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_once_and_not_all() {
        let mut interfaces = Interfaces::default();
        interfaces.add(SeenOn::default());
        assert_eq!((interfaces.last(), interfaces.names().len()), (None, 0));
        interfaces.add(SeenOn { interface: Some("veth0"), others: &["br0", "eth0"] });
        interfaces.add(SeenOn { interface: Some("eth0"), others: &["veth0"] });
        assert_eq!(interfaces.names(), ["veth0", "br0", "eth0"]);
        assert_eq!(interfaces.last(), Some("eth0"));
        for name in ["a", "b", "c", "d", "e", "f"] {
            interfaces.add(SeenOn::one(Some(name)));
        }
        assert_eq!(interfaces.names().len(), MAX_INTERFACES);
        assert_eq!(interfaces.last(), None, "there was no room for it");
    }
}
