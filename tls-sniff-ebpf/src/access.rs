//! The bytes of a packet, in two ways.
//!
//! ```text
//!  data ──────────── data_end            rest of the packet
//!  |  linear part          |  skb pages, XDP fragments   |
//!  |  Direct: a bounds check and a load                  |
//!  |  Whole: a helper call, anywhere                     |
//! ```
//!
//! Headers are nearly always linear, payload often is not: on veth and with GRO the linear part of an
//! skb may end with the TCP header. Each stage of a program uses one way throughout, never one or the
//! other for each load: the verifier would follow every combination.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    helpers::{bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::{TcContext, XdpContext},
};
use tls_sniff_common::{config::MAX_DIRECT_CAPTURE_LEN, packet::PacketBytes};

use crate::globals;

/// The linear part of a packet.
#[derive(Clone, Copy)]
pub(crate) struct Direct {
    start: usize,
    end: usize,
    /// Any number that the verifier does not know.
    unknown: usize,
}

impl Direct {
    /// The one bounds check. `start + offset + N > end` is the form that verifiers before 5.16 track
    /// right; the compiler is kept from turning it into a `>=` form.
    #[inline(always)]
    fn pointer<const N: usize>(self, offset: usize) -> Option<*const [u8; N]> {
        let first = self.start + offset;
        if behind::<N>(first) > self.end {
            return None;
        }
        Some(first as *const [u8; N])
    }
}

impl PacketBytes for Direct {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // SAFETY: `pointer` checked that N bytes are inside the packet.
        self.pointer(offset).map(|bytes| unsafe { read(bytes) })
    }

    #[inline(always)]
    fn wire_len(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn forget<const MASK: usize>(&self, value: usize) -> usize {
        forget::<MASK>(value, self.unknown)
    }
}

/// N bytes in as few loads as there are powers of two in N. The compiler knows of packet bytes only that they have
/// no alignment, and would load each by itself and put them together by shifts.
///
/// # Safety
///
/// N bytes must be readable at `bytes`.
#[inline(always)]
unsafe fn read<const N: usize>(bytes: *const [u8; N]) -> [u8; N] {
    #[cfg(target_arch = "bpf")]
    {
        macro_rules! part {
            ($type:ty, $load:literal, $offset:expr) => {{
                let part: u64;
                // SAFETY: reads bytes that the caller vouches for; the processors that are supported load
                // from any address.
                unsafe {
                    core::arch::asm!(
                        $load,
                        part = lateout(reg) part,
                        bytes = in(reg) bytes,
                        offset = const $offset,
                        options(pure, readonly, nostack, preserves_flags),
                    );
                }
                // SAFETY: a load of fewer than 8 bytes leaves the others 0.
                unsafe { core::hint::assert_unchecked(part <= u64::from(<$type>::MAX)) };
                (part as $type).to_ne_bytes()
            }};
        }
        const { assert!(N < 64) };
        let mut whole = [0; N];
        let mut put = |offset: usize, part: &[u8]| {
            if let Some(place) = whole.get_mut(offset..offset + part.len()) {
                place.copy_from_slice(part);
            }
        };
        macro_rules! words {
            ($($offset:literal)*) => {$(
                if N >= $offset + 8 {
                    put($offset, &part!(u64, "{part} = *(u64 *)({bytes} + {offset})", $offset));
                }
            )*};
        }
        words!(0 8 16 24 32 40 48);
        if N & 4 != 0 {
            put(N & 56, &part!(u32, "{part} = *(u32 *)({bytes} + {offset})", N & 56));
        }
        if N & 2 != 0 {
            put(N & 60, &part!(u16, "{part} = *(u16 *)({bytes} + {offset})", N & 60));
        }
        if N & 1 != 0 {
            put(N & 62, &part!(u8, "{part} = *(u8 *)({bytes} + {offset})", N & 62));
        }
        whole
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller vouches for the bytes, and arrays of bytes have no alignment to keep.
    unsafe {
        *bytes
    }
}

/// `first + N`, where the compiler does not see it: it would make `first >= end` of `first + 1 > end`.
#[inline(always)]
fn behind<const N: usize>(first: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut behind = first;
        // SAFETY: arithmetic on one register.
        unsafe {
            core::arch::asm!(
                "{behind} += {n}",
                behind = inout(reg) behind,
                n = const N,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        behind
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        first + N
    }
}

/// The verifier follows no pointer further than this into a packet (`MAX_PACKET_OFF`).
const MAX_PACKET_OFFSET: usize = 0xffff;

/// `offset`, if the verifier follows a pointer to N bytes there, as a number of which it knows that it does:
/// by instructions that stand right before the use, since the compiler may compare in another register.
#[inline(always)]
fn reachable<const N: usize>(offset: usize) -> Option<usize> {
    if offset > MAX_PACKET_OFFSET - N {
        return None;
    }
    #[cfg(target_arch = "bpf")]
    {
        let mut offset = offset;
        // SAFETY: reads and writes one register, jumps only over its own instruction.
        unsafe {
            core::arch::asm!(
                "if {offset} < {limit} goto +1",
                "{offset} = {most}",
                offset = inout(reg) offset,
                limit = const MAX_PACKET_OFFSET - N + 1,
                most = const MAX_PACKET_OFFSET - N,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        Some(offset)
    }
    #[cfg(not(target_arch = "bpf"))]
    Some(offset)
}

/// `value`, about which the verifier knows only that it is within `MASK`: it does not see that what is
/// added is subtracted again.
#[inline(always)]
fn forget<const MASK: usize>(value: usize, unknown: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: arithmetic on one register.
        unsafe {
            core::arch::asm!(
                "{value} += {unknown}",
                "{value} -= {unknown}",
                "{value} &= {mask}",
                value = inout(reg) value,
                unknown = in(reg) unknown,
                mask = const MASK,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = unknown;
        value & MASK
    }
}

/// A packet at a hook: its bytes in both ways, and where it is.
pub(crate) trait Packet {
    /// All bytes, through the helper.
    type Whole: PacketBytes;

    /// The linear part.
    fn direct(&self) -> Direct;

    /// All bytes.
    fn whole(&self) -> Self::Whole;

    /// Copies `len` bytes at `offset` to `to`; `false` if they are not there. `len` must be known to
    /// the verifier as at least 1 and at most the length of `to`.
    fn copy(&self, offset: usize, to: &mut [u8], len: usize) -> bool;

    /// Index of the interface that the packet crosses.
    fn interface(&self) -> u32;

    /// Type and tag control information of a VLAN tag that is not in the bytes.
    fn offloaded_vlan(&self) -> Option<(u16, u16)>;

    /// As many of `len` bytes as [`Packet::copy`] can copy in one go.
    #[inline(always)]
    fn copied_at_most(&self, len: usize) -> usize {
        len
    }
}

/// Lets `fill` write N bytes and says so by 0, as the kernel's load helpers do.
#[inline(always)]
fn filled<const N: usize>(fill: impl FnOnce(*mut [u8; N]) -> i64) -> Option<[u8; N]> {
    let mut bytes = MaybeUninit::<[u8; N]>::uninit();
    if fill(bytes.as_mut_ptr()) != 0 {
        return None;
    }
    // SAFETY: after success all N bytes are written.
    Some(unsafe { bytes.assume_init() })
}

/// A packet at XDP.
pub(crate) struct XdpPacket {
    ctx: *mut xdp_md,
    direct: Direct,
}

impl XdpPacket {
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        let direct =
            Direct { start: ctx.data(), end: ctx.data_end(), unknown: ctx.ingress_ifindex() };
        Self { ctx: ctx.ctx, direct }
    }

    /// Copies from the linear part in steps of 8 bytes, for kernels without `bpf_xdp_load_bytes`.
    #[inline(always)]
    fn copy_direct(&self, offset: usize, to: &mut [u8], len: usize) -> bool {
        const STEP: usize = 8;
        const STEPS: usize = MAX_DIRECT_CAPTURE_LEN as usize / STEP;
        let mut done = 0;
        for _ in 0..STEPS {
            if done + STEP > len {
                break;
            }
            let Some(bytes) = self.direct.load::<STEP>(offset + done) else { return false };
            let Some(place) = to.get_mut(done..).and_then(|rest| rest.first_chunk_mut()) else {
                return false;
            };
            *place = bytes;
            done += STEP;
        }
        for _ in 0..STEP {
            if done >= len {
                break;
            }
            let Some([byte]) = self.direct.load::<1>(offset + done) else { return false };
            let Some(place) = to.get_mut(done) else { return false };
            *place = byte;
            done += 1;
        }
        done == len
    }
}

impl Packet for XdpPacket {
    type Whole = XdpWhole;

    #[inline(always)]
    fn direct(&self) -> Direct {
        self.direct
    }

    #[inline(always)]
    fn whole(&self) -> XdpWhole {
        XdpWhole { ctx: self.ctx, direct: self.direct }
    }

    #[inline(always)]
    fn copy(&self, offset: usize, to: &mut [u8], len: usize) -> bool {
        if !globals::has_xdp_load_bytes() {
            return self.copy_direct(offset, to, len);
        }
        // SAFETY: the caller keeps `len` within `to`, which the verifier checks once more.
        let result = unsafe {
            bpf_xdp_load_bytes(self.ctx, offset as u32, to.as_mut_ptr().cast(), len as u32)
        };
        result == 0
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        self.direct.unknown as u32
    }

    #[inline(always)]
    fn copied_at_most(&self, len: usize) -> usize {
        let most = MAX_DIRECT_CAPTURE_LEN as usize;
        if globals::has_xdp_load_bytes() { len } else { len.min(most) }
    }

    #[inline(always)]
    fn offloaded_vlan(&self) -> Option<(u16, u16)> {
        // A driver that strips tags tells XDP so only by metadata (6.8), which is not read.
        None
    }
}

/// All bytes of a packet at XDP; the linear part only on kernels before 5.18, which have no other.
pub(crate) struct XdpWhole {
    ctx: *mut xdp_md,
    direct: Direct,
}

impl PacketBytes for XdpWhole {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if !globals::has_xdp_load_bytes() {
            return self.direct.load(reachable::<N>(offset)?);
        }
        // SAFETY: the helper writes N bytes, or fails and says so.
        filled(|to| unsafe { bpf_xdp_load_bytes(self.ctx, offset as u32, to.cast(), N as u32) })
    }

    #[inline(always)]
    fn wire_len(&self) -> usize {
        if globals::has_xdp_load_bytes() {
            // SAFETY: `ctx` is the context that the program was called with.
            unsafe { bpf_xdp_get_buff_len(self.ctx) as usize }
        } else {
            self.direct.wire_len()
        }
    }

    #[inline(always)]
    fn forget<const MASK: usize>(&self, value: usize) -> usize {
        self.direct.forget::<MASK>(value)
    }
}

/// A packet at TC.
pub(crate) struct TcPacket {
    skb: *mut __sk_buff,
    direct: Direct,
}

impl TcPacket {
    #[inline(always)]
    pub(crate) fn new(ctx: &TcContext) -> Self {
        let direct = Direct { start: ctx.data(), end: ctx.data_end(), unknown: ctx.len() as usize };
        Self { skb: ctx.skb.skb, direct }
    }
}

impl Packet for TcPacket {
    type Whole = TcWhole;

    #[inline(always)]
    fn direct(&self) -> Direct {
        self.direct
    }

    #[inline(always)]
    fn whole(&self) -> TcWhole {
        TcWhole { skb: self.skb, len: self.direct.unknown }
    }

    #[inline(always)]
    fn copy(&self, offset: usize, to: &mut [u8], len: usize) -> bool {
        // SAFETY: the caller keeps `len` within `to`, which the verifier checks once more.
        let result = unsafe {
            bpf_skb_load_bytes(self.skb.cast(), offset as u32, to.as_mut_ptr().cast(), len as u32)
        };
        result == 0
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: `skb` is the context that the program was called with.
        unsafe { (*self.skb).ifindex }
    }

    #[inline(always)]
    fn offloaded_vlan(&self) -> Option<(u16, u16)> {
        // SAFETY: `skb` is the context that the program was called with.
        let skb = unsafe { &*self.skb };
        // The type is in network byte order.
        (skb.vlan_present != 0).then(|| ((skb.vlan_proto as u16).swap_bytes(), skb.vlan_tci as u16))
    }
}

/// All bytes of an skb, linear or not.
pub(crate) struct TcWhole {
    skb: *mut __sk_buff,
    /// Length of the packet, also of what is not linear.
    len: usize,
}

impl PacketBytes for TcWhole {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // SAFETY: the helper writes N bytes, or fails and says so.
        filled(|to| unsafe {
            bpf_skb_load_bytes(self.skb.cast(), offset as u32, to.cast(), N as u32)
        })
    }

    #[inline(always)]
    fn wire_len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn forget<const MASK: usize>(&self, value: usize) -> usize {
        forget::<MASK>(value, self.len)
    }
}
