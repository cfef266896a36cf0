//! What TLS bytes mean. Sans-IO: bytes in, borrowed structures out, nothing allocated but
//! what a connection keeps.
//!
//! ```text
//!  record        the records in a payload
//!   handshake    the messages in a handshake record
//!    client_hello, server_hello, extension, certificate; ssl2: the hello from before TLS
//!   alert
//!   message     what one record or handshake message says
//!   fingerprint  of hellos, from their parsed fields
//!   facts        what a connection keeps of its hellos
//!   weakness     what of it should not be in use any more
//!  memo          what was worked out before
//!  reader        checked reading, under all of them
//!  names         code points in the words of the IANA registries
//! ```
//!
//! Input is often cut: one segment of a hello, or as much as was captured. So a hello is read as far as
//! it goes; what is missing and what is wrong are told apart.

#![forbid(unsafe_code)]

pub mod alert;
pub mod certificate;
pub mod client_hello;
pub mod extension;
pub mod facts;
pub mod fingerprint;
pub mod handshake;
pub mod memo;
pub mod message;
pub mod names;
pub mod reader;
pub mod server_hello;
pub mod ssl2;
pub mod weakness;

#[cfg(test)]
pub(crate) mod tests;
