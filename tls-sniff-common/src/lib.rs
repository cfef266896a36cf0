//! What tls-sniff's kernel programs and its user side share: one packet walk, one TLS record test, one
//! event layout.
//!
//! ```text
//!  packet   bytes at an offset, wherever they are: XDP, an skb, a slice of a capture file
//!  headers  link layer → VLAN → IPv4/IPv6 → TCP, as offsets          ┐
//!  start    what the payload starts with: a hello, another record   ├ examine
//!  gate     which flows are in their handshake                       ┘
//!  shortcut what most packets come to, without all of that
//!  filter   which packets are wanted: connections, segments, records
//!  record   the TLS record header
//!  counters what a packet came to, one name for each outcome
//!  flow     hook, direction, addresses and ports, and their hash
//!  event    the ring buffer's event: a fixed header, then captured bytes
//!  config   what user space tells the kernel programs at load
//! ```
//!
//! Everything here is `no_std`, allocates nothing, and is marked `#[inline(always)]` where the kernel
//! runs it: BPF functions take at most five arguments and the verifier follows inlined code best.

#![no_std]
#![forbid(unsafe_code)]

pub mod config;
pub mod counters;
pub mod event;
mod examine;
pub mod filter;
pub mod flow;
pub mod gate;
pub mod headers;
pub mod packet;
pub mod record;
pub mod shortcut;
pub mod start;

pub use examine::{Flows, arrival, is_idle, judge};

/// Version of the event layout and of the globals; the event header carries it, so that a user side
/// never reads the events of another build wrongly.
pub const ABI_VERSION: u8 = 4;
