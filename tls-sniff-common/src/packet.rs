//! A packet as the walk sees it: bytes at an offset, wherever they are kept.
//!
//! XDP reads between `data` and `data_end`, TC reads the linear part of an skb or asks a helper, a
//! capture file is a slice. The walk is the same for all of them because it only ever asks this trait.

/// Bounds-checked access to the bytes of one packet.
///
/// Offsets count from the first byte that the hook or the capture file gives: the Ethernet header, or
/// the IP header on an interface without one.
pub trait PacketBytes {
    /// The `N` bytes at `offset`, or `None` if the packet (or what of it is at hand) ends before.
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Length in bytes of the packet as it was on the wire or in the stack, also of what is not at
    /// hand. Asked only when the IP header does not say (a length of 0: TSO or BIG TCP).
    fn wire_len(&self) -> usize;

    /// `value`, which is at most `MASK` (a number of the form 2^n - 1), with its history forgotten.
    ///
    /// The kernel's verifier follows every path with the values it has there: three numbers of VLAN tags
    /// times six extension headers times ... are as many paths through all that comes after. Behind
    /// this call they are one: any number up to `MASK`. Elsewhere it is the identity.
    #[inline(always)]
    fn forget<const MASK: usize>(&self, value: usize) -> usize {
        value
    }
}

/// A packet in memory: from a capture file, or made by a test.
#[derive(Clone, Copy, Debug)]
pub struct CapturedPacket<'a> {
    /// The bytes that were captured.
    pub bytes: &'a [u8],
    /// The original length; greater than `bytes.len()` if a snaplen cut the packet.
    pub wire_len: usize,
}

impl<'a> From<&'a [u8]> for CapturedPacket<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, wire_len: bytes.len() }
    }
}

impl PacketBytes for CapturedPacket<'_> {
    #[inline]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes.get(offset..)?.first_chunk().copied()
    }

    #[inline]
    fn wire_len(&self) -> usize {
        self.wire_len
    }
}
