//! Where packets come from: the kernel's ring buffer, or a capture file.

pub mod file;
pub mod ring;
