//! What is counted by interface: a bounded number of them, and those that are gone are forgotten.

use std::{collections::BTreeSet, fmt};

use tls_sniff_common::flow::Direction;

use super::{counts::OTHER, exposition::Writer, families};

/// Interfaces that are counted apart, those that went since the last scrape among them.
pub(super) const MAX_INTERFACES: usize = 1024;

/// `N` counters for each interface, and for all that are too many.
#[derive(Clone, Debug)]
pub(super) struct ByInterface<const N: usize> {
    /// In the order of names.
    interfaces: Vec<(Box<str>, [u64; N])>,
    /// Which of them was counted at last: mostly the next is the same.
    last: usize,
}

impl<const N: usize> Default for ByInterface<N> {
    fn default() -> Self {
        Self { interfaces: Vec::new(), last: 0 }
    }
}

impl<const N: usize> ByInterface<N> {
    /// The counters of an interface. Only one that is new allocates, and of those only as many as there is room for.
    pub(super) fn of(&mut self, name: &str) -> Option<&mut [u64; N]> {
        if self.interfaces.get(self.last).is_none_or(|(last, _)| **last != *name) {
            self.last = self.look_up(name);
        }
        self.interfaces.get_mut(self.last).map(|(_, counts)| counts)
    }

    fn look_up(&mut self, name: &str) -> usize {
        match self.find(name) {
            Ok(at) => at,
            Err(at) if self.interfaces.len() < MAX_INTERFACES => self.insert(at, name),
            Err(_) => self.find(OTHER).unwrap_or_else(|at| self.insert(at, OTHER)),
        }
    }

    /// Where an interface is, or is to be.
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.interfaces.binary_search_by(|(found, _)| (**found).cmp(name))
    }

    fn insert(&mut self, at: usize, name: &str) -> usize {
        self.interfaces.insert(at, (name.into(), [0; N]));
        at
    }

    /// Forgets those that are not wanted any more.
    pub(super) fn keep(&mut self, wanted: impl Fn(&str, &[u64; N]) -> bool) {
        self.interfaces.retain(|(name, counts)| **name == *OTHER || wanted(name, counts));
    }

    /// In the order of names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[u64; N])> {
        self.interfaces.iter().map(|(name, counts)| (&**name, counts))
    }
}

/// Events by the interface and the direction that they tell of.
#[derive(Clone, Debug, Default)]
pub struct InterfaceEvents(ByInterface<2>);

impl InterfaceEvents {
    /// Counts one.
    pub fn count(&mut self, interface: &str, direction: Direction) {
        let Some([ingress, egress]) = self.0.of(interface) else { return };
        match direction {
            Direction::Ingress => *ingress += 1,
            Direction::Egress => *egress += 1,
            // Of capture files, which have no metrics.
            Direction::Unknown => {}
        }
    }

    /// The counters so far. Interfaces that are not `there` any more are forgotten; one that is silent has its zeros,
    /// unless there are so many that it would take the place of one that is not.
    #[must_use]
    pub fn counts(&mut self, there: &BTreeSet<&str>) -> Self {
        let have_room = there.len() <= MAX_INTERFACES;
        self.0.keep(|name, counts| there.contains(name) && (have_room || *counts != [0; 2]));
        if have_room {
            for name in there {
                self.0.look_up(name);
            }
        }
        self.clone()
    }

    pub(super) fn write(&self, writer: &mut Writer<'_, '_>) -> fmt::Result {
        let mut series = writer.family(&families::INTERFACE_EVENTS)?;
        for (name, [ingress, egress]) in self.0.iter() {
            series.counter(&[name, "ingress"], *ingress)?;
            series.counter(&[name, "egress"], *egress)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(events: &InterfaceEvents) -> Vec<(String, [u64; 2])> {
        events.0.iter().map(|(name, counts)| (name.to_owned(), *counts)).collect()
    }

    fn of(names: &[&str], counts: [u64; 2]) -> Vec<(String, [u64; 2])> {
        names.iter().map(|name| ((*name).to_owned(), counts)).collect()
    }

    #[test]
    fn each_direction_of_each_interface_is_counted_in_whatever_order() {
        let mut events = InterfaceEvents::default();
        for round in 0..100_u32 {
            for (name, times) in [("eth0", 1), ("br0", 2), ("veth1", 3), ("br0", 4), ("eth0", 5)] {
                for _ in 0..times {
                    events.count(name, Direction::Ingress);
                }
                if round % 4 == 0 {
                    events.count(name, Direction::Egress);
                }
                events.count(name, Direction::Unknown);
            }
        }
        let expected = [of(&["br0", "eth0"], [600, 50]), of(&["veth1"], [300, 25])].concat();
        assert_eq!(told(&events), expected);
    }

    #[test]
    fn an_interface_that_is_gone_or_renamed_is_forgotten_and_a_silent_one_is_zero() {
        let mut events = InterfaceEvents::default();
        events.count("eth0", Direction::Egress);
        events.count("veth1", Direction::Ingress);
        let there = BTreeSet::from(["eth0", "veth1", "lo"]);
        let first = [of(&["eth0"], [0, 1]), of(&["lo"], [0, 0]), of(&["veth1"], [1, 0])].concat();
        assert_eq!(told(&events.counts(&there)), first);
        // One has another name, one is gone; then it is there again, and begins anew.
        events.count("wan", Direction::Egress);
        let there = BTreeSet::from(["wan", "lo"]);
        let second = [of(&["lo"], [0, 0]), of(&["wan"], [0, 1])].concat();
        assert_eq!(told(&events.counts(&there)), second);
        events.count("veth1", Direction::Ingress);
        assert_eq!(told(&events)[1..], [of(&["veth1"], [1, 0]), of(&["wan"], [0, 1])].concat());
    }

    #[test]
    fn those_that_are_too_many_are_other_and_silent_ones_take_no_place() {
        let names: Vec<String> =
            (0..=MAX_INTERFACES).map(|number| format!("v{number:04}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (last, fitting) = names.split_last().unwrap();
        let mut events = InterfaceEvents::default();
        // Just as many as there is room for: all are told.
        assert_eq!(told(&events.counts(&fitting.iter().copied().collect())), of(fitting, [0; 2]));
        events.count("v0000", Direction::Ingress);
        events.count(last, Direction::Ingress);
        events.count(last, Direction::Egress);
        let busy = [of(&[OTHER], [1, 1]), of(&["v0000"], [1, 0])].concat();
        let there: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(told(&events.counts(&there)), busy);
        // Now it has room. An interface may have that name, too, and is one series with the rest.
        events.count(last, Direction::Egress);
        events.count(OTHER, Direction::Egress);
        let there = BTreeSet::from([*last, OTHER]);
        assert_eq!(
            told(&events.counts(&there)),
            [of(&[OTHER], [1, 2]), of(&[last], [0, 1])].concat()
        );
    }
}
