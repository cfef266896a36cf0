//! What user space sets before load; see `tls_sniff_common::config` for the names and units.
//!
//! Read-only after load, so the verifier knows the values and prunes what they turn off.

use aya_ebpf::Global;
use tls_sniff_common::{
    config::MAX_CAPTURE_LEN,
    filter::{FamilyAddress, NO_PAYLOAD_RULE, Rules, Scope},
    flow::FlowKey,
};

use crate::maps;

#[unsafe(no_mangle)]
static CAPTURE_LEN: Global<u32> = Global::new(MAX_CAPTURE_LEN);

#[unsafe(no_mangle)]
static EMIT_APPLICATION_DATA: Global<u8> = Global::new(0);

#[unsafe(no_mangle)]
static HAS_XDP_LOAD_BYTES: Global<u8> = Global::new(0);

#[unsafe(no_mangle)]
static FLOW_SUMMAND: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static FLOW_FACTOR: Global<u64> = Global::new(0);

/// Payload bytes wanted behind each event header.
#[inline(always)]
pub(crate) fn capture_len() -> usize {
    CAPTURE_LEN.load() as usize
}

/// The key of the flow hash.
#[inline(always)]
pub(crate) fn flow_key() -> FlowKey {
    FlowKey { summand: FLOW_SUMMAND.load(), factor: FLOW_FACTOR.load() }
}

/// Whether this kernel has `bpf_xdp_load_bytes` and `bpf_xdp_get_buff_len` (5.18).
#[inline(always)]
pub(crate) fn has_xdp_load_bytes() -> bool {
    HAS_XDP_LOAD_BYTES.load() != 0
}

#[unsafe(no_mangle)]
static SNAPLEN: Global<u32> = Global::new(0);

/// Bytes of each selected packet that are wanted; 0 for payload alone.
#[inline(always)]
pub(crate) fn snaplen() -> usize {
    SNAPLEN.load() as usize
}

#[unsafe(no_mangle)]
static TAP: Global<u8> = Global::new(0);

/// Whether the XDP programs drop every packet, whatever it came to.
#[inline(always)]
#[must_use]
pub fn is_tap() -> bool {
    TAP.load() != 0
}

#[unsafe(no_mangle)]
static HAS_EXPRESSION: Global<u8> = Global::new(0);

/// Whether user space put an expression into the functions of [`crate::expression`].
#[inline(always)]
pub(crate) fn has_expression() -> bool {
    HAS_EXPRESSION.load() != 0
}

#[unsafe(no_mangle)]
static TAKES_SHORTCUT: Global<u8> = Global::new(0);

/// Whether there is neither a rule nor an expression: [`tls_sniff_common::shortcut`] knows what most packets come to.
#[inline(always)]
pub(crate) fn takes_shortcut() -> bool {
    TAKES_SHORTCUT.load() != 0
}

#[unsafe(no_mangle)]
static RULE_DIRECTION: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static RULE_PORTS: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static RULE_NETWORKS: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static RULE_VLANS: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static RULE_SAMPLE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static RULE_TCP_FLAGS: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static RULE_PAYLOAD_LEAST: Global<u32> = Global::new(NO_PAYLOAD_RULE.0);
#[unsafe(no_mangle)]
static RULE_PAYLOAD_MOST: Global<u32> = Global::new(NO_PAYLOAD_RULE.1);
#[unsafe(no_mangle)]
static RULE_CONTENT_TYPES: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static RULE_RECORD_VERSIONS: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static RULE_HELLO_VERSIONS: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static RULE_HANDSHAKE_TYPES: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static RULE_SCOPE: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static RULE_FOLLOWS_HANDSHAKES: Global<u8> = Global::new(0);

/// The rules as user space has set them.
pub(crate) struct KernelRules;

impl Rules for KernelRules {
    #[inline(always)]
    fn direction(&self) -> u8 {
        RULE_DIRECTION.load()
    }

    #[inline(always)]
    fn ports(&self) -> u8 {
        RULE_PORTS.load()
    }

    #[inline(always)]
    fn port(&self, port: u16) -> u8 {
        maps::port(port)
    }

    #[inline(always)]
    fn networks(&self) -> u8 {
        RULE_NETWORKS.load()
    }

    #[inline(always)]
    fn address(&self, address: &FamilyAddress) -> u8 {
        maps::address(address)
    }

    #[inline(always)]
    fn vlans(&self) -> u8 {
        RULE_VLANS.load()
    }

    #[inline(always)]
    fn has_vlan(&self, id: u16) -> bool {
        maps::has_vlan(id)
    }

    #[inline(always)]
    fn sample(&self) -> u32 {
        RULE_SAMPLE.load()
    }

    #[inline(always)]
    fn tcp_flags(&self) -> u8 {
        RULE_TCP_FLAGS.load()
    }

    #[inline(always)]
    fn payload_len(&self) -> (u32, u32) {
        (RULE_PAYLOAD_LEAST.load(), RULE_PAYLOAD_MOST.load())
    }

    #[inline(always)]
    fn content_types(&self) -> u8 {
        RULE_CONTENT_TYPES.load()
    }

    #[inline(always)]
    fn record_versions(&self) -> u8 {
        RULE_RECORD_VERSIONS.load()
    }

    #[inline(always)]
    fn hello_versions(&self) -> u8 {
        RULE_HELLO_VERSIONS.load()
    }

    #[inline(always)]
    fn handshake_types(&self) -> u32 {
        RULE_HANDSHAKE_TYPES.load()
    }

    #[inline(always)]
    fn scope(&self) -> Scope {
        Scope::from_wire(RULE_SCOPE.load())
    }

    #[inline(always)]
    fn follows_handshakes(&self) -> bool {
        RULE_FOLLOWS_HANDSHAKES.load() != 0
    }

    #[inline(always)]
    fn application_data(&self) -> bool {
        EMIT_APPLICATION_DATA.load() != 0
    }
}
