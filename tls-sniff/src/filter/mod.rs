//! Which packets and handshakes the user wants: the kernel's tests, which are also made on the frames of a
//! file, and those that need more than a packet.
//!
//! ```text
//!  flags ─► value, end, networks, glob   one value each, as the user writes it
//!         ─► patterns   globs that something can match
//!         ─► packet     tests of packets: PacketFilter, and as the kernel has them: RuleSet
//!         ─► handshake  tests of what was understood of a handshake
//!         ─► explain    in words
//!  expression           what flags cannot say, in tcpdump's language
//! ```
//!
//! Values of one flag are alternatives, flags add up, and what is excluded stays excluded.

pub mod end;
pub mod explain;
pub mod expression;
pub mod glob;
pub mod handshake;
pub mod networks;
pub mod packet;
pub mod patterns;
pub mod value;

pub use packet::PacketFilter;
