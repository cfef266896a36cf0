//! tls-sniff.
fn main() {}
