//! Harness for tests of tls-sniff against the real kernel and real TLS peers.
//!
//! A test file has `harness = false` and hands its tests to [`runner::main`], each with the
//! [`need::Need`]s of the machine that it has. What a test makes outside its process (namespaces,
//! interfaces, child processes) belongs to a guard that undoes it on drop, on a panic too; what it
//! waits for is polled under a deadline that names what was awaited, never slept for.
//!
//! | module | what it gives |
//! |---|---|
//! | [`runner`], [`need`] | the test runner, and what a test needs of the machine |
//! | [`poll`], [`process`] | waiting under a deadline; a child process, killed on drop |
//! | [`netns`], [`veth`], [`middle`] | network namespaces, two of them joined by a veth pair, three in a row |
//! | [`peer`] | TLS servers and clients by OpenSSL |
//! | [`sniffer`], [`schema`] | the tls-sniff program in a namespace, and the events that it prints |
//! | [`attached`], [`systemd`] | programs on an interface; a machine of namespaces with a real systemd |
//! | `inject` | system calls put into another process from outside |
//! | [`baseline`] | committed figures, and comparing with them |
//! | [`fuzz`] | what the fuzzers and the seeds' test run |
//! | [`pcap`], [`capture`], [`tshark`] | capture files made by tests and by tcpdump; what is in one, by tshark |
//! | [`frame`], [`tunnel`], [`packet_socket`] | crafted frames, and a socket that sends them |
//! | [`conversation`], [`traffic`], [`replay`] | real TLS connections as bytes, as the packets of many, as the ring's events |
//! | [`bpf`], [`measure`], [`figures`] | for the benches: test runs, what a process costs, tables |
//!
//! Traffic goes to loopback and to namespaces that the test made, nowhere else.

pub mod attached;
pub mod baseline;
pub mod bpf;
pub mod capture;
pub mod conversation;
pub mod figures;
pub mod frame;
pub mod fuzz;
#[cfg(target_arch = "x86_64")]
pub mod inject;
pub mod libpcap;
pub mod measure;
pub mod middle;
pub mod need;
pub mod netns;
pub mod packet_socket;
pub mod pcap;
pub mod peer;
pub mod poll;
pub mod process;
pub mod replay;
pub mod runner;
pub mod schema;
pub mod sniffer;
pub mod systemd;
pub mod traffic;
pub mod tshark;
pub mod tunnel;
pub mod veth;

use std::path::Path;

/// The top folder of the workspace.
pub fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in a workspace")
}
