//! Every map of the kernel side, behind typed functions.

use aya_ebpf::{
    btf_maps::{Array, PerCpuArray, RingBuf},
    macros::btf_map,
};
use tls_sniff_common::{
    config::{DEFAULT_RING_LEN, MAX_CAPTURE_LEN},
    counters::{Counter, CounterBlock},
    event::{EVENT_HEADER_LEN, EventHeader},
    flow::{FlowId, Hook, KERNEL_HOOKS},
    gate::{BUCKETS, Bucket},
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

/// One event under construction for each CPU. Programs of one CPU do not interrupt each other: XDP and
/// TC ingress run in the receive softirq, TC egress with softirqs off.
#[btf_map]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// An event as the ring buffer will hold it.
#[repr(C)]
pub(crate) struct Scratch {
    pub(crate) header: EventHeader,
    pub(crate) payload: [u8; MAX_CAPTURE_LEN as usize],
}

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

/// This CPU's event under construction.
#[inline(always)]
pub(crate) fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: as for `counters`: the slot is this CPU's alone for as long as the program runs.
    SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

/// Copies the header and the first `captured` payload bytes of `event` into the ring buffer, which
/// wakes user space only if that had read everything before.
///
/// Returns `false` if the ring has no room. `captured` must be known to the verifier as at most
/// [`MAX_CAPTURE_LEN`].
#[inline(always)]
pub(crate) fn output(event: &Scratch, captured: usize) -> bool {
    // SAFETY: `Scratch` is `repr(C)` without padding, its header of EVENT_HEADER_LEN bytes comes first
    // and `captured` bytes of payload exist behind it; the slot was zeroed when the map was made.
    let bytes = unsafe {
        core::slice::from_raw_parts((&raw const *event).cast::<u8>(), EVENT_HEADER_LEN + captured)
    };
    EVENTS.output_untyped::<[u8]>(bytes, 0).is_ok()
}
