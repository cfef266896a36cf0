//! Every map of the kernel side, behind typed functions.

use aya_ebpf::{
    btf_maps::{Array, LpmTrie, PerCpuArray, RingBuf, lpm_trie::Key},
    helpers::bpf_get_smp_processor_id,
    macros::btf_map,
};
use tls_sniff_common::{
    config::{DEFAULT_RING_LEN, MAX_CAPTURE_LEN, MAX_SNAPLEN, PORT_COUNT, VLAN_COUNT},
    counters::{Counter, CounterBlock},
    event::{EVENT_HEADER_LEN, EventHeader},
    filter::FamilyAddress,
    flow::{FlowId, Hook, KERNEL_HOOKS},
    gate::{BUCKETS, Bucket, Glance},
};

/// Events to user space; user space sets the size at load.
#[btf_map]
static EVENTS: RingBuf<(), { DEFAULT_RING_LEN as usize }> = RingBuf::new();

/// One block for each hook, indexed by [`Hook`].
#[btf_map]
static COUNTERS: PerCpuArray<CounterBlock, { KERNEL_HOOKS.len() }> = PerCpuArray::new();

/// The flows in their handshake, of all CPUs and hooks.
#[btf_map]
static FLOWS: Array<Bucket, BUCKETS> = Array::new();

/// What a glance tells of each of them. Not a map of its own but a variable, whose address the program has: a
/// look costs no lookup.
static GLANCES: Glances = Glances([const { Glance::empty() }; BUCKETS]);

struct Glances([Glance; BUCKETS]);

// SAFETY: all of it are cells of 2 bytes, each read and written by one instruction, and any mixture of their
// values is valid.
unsafe impl Sync for Glances {}

/// One event under construction for each CPU. Programs of one CPU do not interrupt each other: XDP and
/// TC ingress run in the receive softirq, TC egress with softirqs off.
#[btf_map]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// The same for whole packets, indexed by CPU: a per-CPU map's values end at 32 KiB. User space sets the
/// size at load, to one for each CPU if packets are asked for.
#[btf_map]
static PACKET_SCRATCH: Array<PacketScratch, 1> = Array::new();

/// [`tls_sniff_common::filter::end`] of each port.
#[btf_map]
static PORTS: Array<[u8; PORT_COUNT], 1> = Array::new();

/// Whether each VLAN id is wanted, 1 if it is.
#[btf_map]
static VLANS: Array<[u8; VLAN_COUNT], 1> = Array::new();

/// [`tls_sniff_common::filter::end`] of each prefix: of all that hold its addresses. User space sets the size.
#[btf_map]
static NETWORKS: LpmTrie<FamilyAddress, u8, 1> = LpmTrie::new();

/// An event under construction, as the ring buffer will hold it.
#[repr(C)]
pub(crate) struct Pending<const MAX: usize> {
    pub(crate) header: EventHeader,
    pub(crate) bytes: [u8; MAX],
}

pub(crate) type Scratch = Pending<{ MAX_CAPTURE_LEN as usize }>;
pub(crate) type PacketScratch = Pending<{ MAX_SNAPLEN as usize }>;

/// The counters of one hook on this CPU.
pub(crate) struct Counters(&'static mut CounterBlock);

impl Counters {
    /// Adds one to `counter`.
    #[inline(always)]
    pub(crate) fn add(&mut self, counter: Counter) {
        if let Some(count) = self.0.get_mut(counter.index()) {
            *count += 1;
        }
    }
}

/// The counters of `hook`.
#[inline(always)]
pub(crate) fn counters(hook: Hook) -> Option<Counters> {
    // SAFETY: the slot is this CPU's and this hook's, and nothing on this CPU interrupts the program
    // with another one of the same hook.
    COUNTERS.get_ptr_mut(hook as u32).map(|block| Counters(unsafe { &mut *block }))
}

/// The bucket of a flow.
#[inline(always)]
pub(crate) fn bucket(flow: FlowId) -> Option<&'static Bucket> {
    // SAFETY: the value lives as long as the map and is zeroed when the map is made, which is a valid
    // empty bucket. Other CPUs may write it at the same time: all of it are cells of 8 bytes, each read
    // and written by one instruction, and any mixture of their values is valid.
    FLOWS.get_ptr(flow.bucket(BUCKETS) as u32).map(|bucket| unsafe { &*bucket })
}

/// What a glance tells of the bucket of a flow.
#[inline(always)]
pub(crate) fn glance(flow: FlowId) -> Option<&'static Glance> {
    GLANCES.0.get(flow.bucket(BUCKETS))
}

/// This CPU's event under construction.
#[inline(always)]
pub(crate) fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: as for `counters`: the slot is this CPU's alone for as long as the program runs.
    SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

/// This CPU's event with a whole packet under construction.
#[inline(always)]
pub(crate) fn packet_scratch() -> Option<&'static mut PacketScratch> {
    // SAFETY: the helper takes nothing and cannot fail.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    // SAFETY: as for `counters`: the slot is this CPU's alone for as long as the program runs.
    PACKET_SCRATCH.get_ptr_mut(cpu).map(|scratch| unsafe { &mut *scratch })
}

/// [`tls_sniff_common::filter::end`] of a port.
#[inline(always)]
pub(crate) fn port(port: u16) -> u8 {
    PORTS
        .get(0)
        .and_then(|ports| ports.get(within::<{ PORT_COUNT - 1 }>(port)))
        .copied()
        .unwrap_or(0)
}

/// Whether a VLAN id is wanted.
#[inline(always)]
pub(crate) fn has_vlan(id: u16) -> bool {
    let wanted = VLANS.get(0).and_then(|ids| ids.get(within::<{ VLAN_COUNT - 1 }>(id)));
    wanted.is_some_and(|wanted| *wanted != 0)
}

/// A place in a table of `MASK + 1`, by an instruction that stands right before its use: the compiler knows
/// how many bits a port or VLAN id has and leaves the test out, and verifiers before 6.18 do not see it from
/// what it makes of the rest.
#[inline(always)]
fn within<const MASK: usize>(id: u16) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut index = usize::from(id);
        // SAFETY: arithmetic on one register.
        unsafe {
            core::arch::asm!(
                "{index} &= {mask}",
                index = inout(reg) index,
                mask = const MASK,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        index
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        usize::from(id) & MASK
    }
}

/// [`tls_sniff_common::filter::end`] of an address.
#[inline(always)]
pub(crate) fn address(address: &FamilyAddress) -> u8 {
    let key = Key::new(8 * size_of::<FamilyAddress>() as u32, *address);
    NETWORKS.get(&key).copied().unwrap_or(0)
}

/// Copies the header and the first `captured` bytes behind it into the ring buffer, which wakes user space
/// only if that had read everything before.
///
/// Returns `false` if the ring has no room. `captured` must be known to the verifier as at most `MAX`.
#[inline(always)]
pub(crate) fn output<const MAX: usize>(event: &Pending<MAX>, captured: usize) -> bool {
    // SAFETY: `Pending` is `repr(C)` without padding, its header of EVENT_HEADER_LEN bytes comes first
    // and `captured` bytes exist behind it; the slot was zeroed when the map was made.
    let bytes = unsafe {
        core::slice::from_raw_parts((&raw const *event).cast::<u8>(), EVENT_HEADER_LEN + captured)
    };
    EVENTS.output_untyped::<[u8]>(bytes, 0).is_ok()
}
