//! Which packets the user wants: the kernel's tests, which are also made on the frames of a file.
//!
//! ```text
//!  flags ─► value, end, networks   one value each, as the user writes it
//!         ─► packet                 all of them: PacketFilter, and as the kernel has them: RuleSet
//!         ─► explain                in words
//!  expression                      what flags cannot say, in tcpdump's language
//! ```
//!
//! Values of one flag are alternatives, flags add up, and what is excluded stays excluded.

pub mod end;
pub mod explain;
pub mod expression;
pub mod networks;
pub mod packet;
pub mod value;

pub use packet::PacketFilter;
