//! What TLS bytes mean. Sans-IO: bytes in, borrowed structures out, nothing allocated.
//!
//! ```text
//!  record        the records in a payload
//!   handshake    the messages in a handshake record
//!    client_hello, server_hello, extension
//!   alert
//!   fingerprint  of hellos, from their parsed fields
//!  reader        checked reading, under all of them
//!  names         code points in the words of the IANA registries
//! ```
//!
//! Input is often cut: one segment of a hello, or as much as was captured. So a hello is read as far as
//! it goes; what is missing and what is wrong are told apart.

#![forbid(unsafe_code)]

pub mod alert;
pub mod client_hello;
pub mod extension;
pub mod fingerprint;
pub mod handshake;
pub mod names;
pub mod reader;
pub mod record;
pub mod server_hello;

#[cfg(test)]
mod tests;
