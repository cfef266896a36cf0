//! The rules of a filter, as the kernel programs have them: globals before the load, tables after it.

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, LpmTrie, MapError, lpm_trie::Key},
};
use tls_sniff_common::{
    config::{EMIT_APPLICATION_DATA, PORT_COUNT, VLAN_COUNT, rules as name},
    filter::FamilyAddress,
};

use super::LoadError;
use crate::filter::packet::RuleSet;

/// The globals of a set of rules; what the verifier sees in them turns off the tests that nobody asked for.
pub(super) struct Globals {
    bytes: [(&'static str, u8); 11],
    words: [(&'static str, u32); 4],
}

impl Globals {
    pub(super) fn of(rules: &RuleSet) -> Self {
        let (least, most) = rules.payload_len;
        Self {
            bytes: [
                (name::DIRECTION, rules.direction),
                (name::PORTS, rules.ports),
                (name::NETWORKS, rules.networks),
                (name::VLANS, rules.vlans),
                (name::TCP_FLAGS, rules.tcp_flags),
                (name::CONTENT_TYPES, rules.content_types),
                (name::RECORD_VERSIONS, rules.record_versions),
                (name::HELLO_VERSIONS, rules.hello_versions),
                (name::SCOPE, rules.scope as u8),
                (name::FOLLOWS_HANDSHAKES, u8::from(rules.follows_handshakes)),
                (EMIT_APPLICATION_DATA, u8::from(rules.application_data)),
            ],
            words: [
                (name::SAMPLE, rules.sample),
                (name::PAYLOAD_LEAST, least),
                (name::PAYLOAD_MOST, most),
                (name::HANDSHAKE_TYPES, rules.handshake_types),
            ],
        }
    }

    /// Hands them to the loader, which keeps references to them.
    pub(super) fn set<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        for (name, value) in &self.bytes {
            loader.override_global(name, value, true);
        }
        for (name, value) in &self.words {
            loader.override_global(name, value, true);
        }
    }
}

/// Fills the tables that the rules need.
pub(super) fn fill(ebpf: &mut Ebpf, rules: &RuleSet) -> Result<(), LoadError> {
    if rules.ports != 0 {
        let mut ports: Array<_, [u8; PORT_COUNT]> = table(ebpf, "PORTS")?;
        ports.set(0, *rules.port_table, 0).map_err(|source| refused("PORTS", source))?;
    }
    if rules.vlans != 0 {
        let mut vlans: Array<_, [u8; VLAN_COUNT]> = table(ebpf, "VLANS")?;
        vlans.set(0, *rules.vlan_table, 0).map_err(|source| refused("VLANS", source))?;
    }
    if rules.networks != 0 {
        let mut networks: LpmTrie<_, FamilyAddress, u8> = table(ebpf, "NETWORKS")?;
        for (address, length, bits) in rules.network_set.entries() {
            networks
                .insert(&Key::new(length, address), bits, 0)
                .map_err(|source| refused("NETWORKS", source))?;
        }
    }
    Ok(())
}

fn table<'a, T>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<T, LoadError>
where
    T: TryFrom<&'a mut aya::maps::Map, Error = MapError>,
{
    let map = ebpf.map_mut(name).ok_or(LoadError::Missing(name))?;
    map.try_into().map_err(|source| refused(name, source))
}

fn refused(map: &'static str, source: MapError) -> LoadError {
    LoadError::Map { map, source: Box::new(source) }
}
