//! The flags of captures.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tls_sniff_common::{config, filter::Scope};

use crate::{
    filter::value::Size,
    sink::capture::{CaptureFormat, CaptureOptions},
};

/// Where packets are written to, and which.
#[derive(Debug, Args)]
#[command(next_help_heading = "Capture files, for Wireshark")]
pub(crate) struct CaptureFlags {
    /// Write the packets that the filters select to a file, `-` for stdout; .gz and .zst compress, and
    /// with -G the name may have strftime's %Y, %m, ...
    #[arg(short, long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,

    /// Format of the capture [default: pcapng; pcap for a name that ends in .pcap or .cap]
    #[arg(long, value_name = "FORMAT", requires = "write")]
    write_format: Option<WriteFormat>,

    /// How much of a connection is written
    #[arg(long, value_name = "SCOPE", default_value = "record", requires = "write")]
    write_scope: WriteScope,

    /// Bytes of each packet to write at most, 0 for all
    #[arg(short, long, value_name = "BYTES", default_value_t = 0, requires = "write")]
    snaplen: u32,

    /// Begin another file before one gets larger than SIZE millions of bytes (K, M, G: of 1024)
    #[arg(short = 'C', long, value_name = "SIZE", requires = "write")]
    rotate_size: Option<Size>,

    /// Begin another file every so many seconds
    #[arg(short = 'G', long, value_name = "SECONDS", requires = "write",
          value_parser = clap::value_parser!(u64).range(1..))]
    rotate_seconds: Option<u64>,

    /// Files: with -C the oldest is overwritten, with -G the run ends after so many
    #[arg(short = 'W', long, value_name = "N", requires = "write",
          value_parser = clap::value_parser!(u32).range(1..))]
    files: Option<u32>,

    /// File of TLS secrets (SSLKEYLOGFILE) to embed, so that Wireshark decrypts
    #[arg(long, value_name = "FILE", requires = "write")]
    keylog: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WriteFormat {
    /// With interfaces, comments and drop counts
    Pcapng,
    /// The classic one, with nanoseconds
    Pcap,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WriteScope {
    /// The packets that the filters select
    Record,
    /// All packets from SYN to the end of a handshake of which they select one
    Handshake,
    /// All packets of such a connection
    Connection,
}

impl CaptureFlags {
    /// Whether the capture goes to stdout.
    pub(crate) fn to_stdout(&self) -> bool {
        self.write.as_ref().is_some_and(|path| path.as_os_str() == "-")
    }

    /// How much of a connection is wanted.
    pub(crate) const fn scope(&self) -> Scope {
        match self.write_scope {
            WriteScope::Record => Scope::Record,
            WriteScope::Handshake => Scope::Handshake,
            WriteScope::Connection => Scope::Connection,
        }
    }

    /// Bytes of each packet to write; 0 if none is written.
    pub(crate) const fn snaplen(&self) -> u32 {
        match (&self.write, self.snaplen) {
            (None, _) => 0,
            (Some(_), 0) => config::MAX_SNAPLEN,
            (Some(_), snaplen) if snaplen > config::MAX_SNAPLEN => config::MAX_SNAPLEN,
            (Some(_), snaplen) => snaplen,
        }
    }

    /// The capture that is asked for; `filter`: what selects its packets, in words.
    pub(crate) fn options(&self, filter: String) -> Option<CaptureOptions> {
        Some(CaptureOptions {
            path: self.write.clone()?,
            format: self.write_format.map(|format| match format {
                WriteFormat::Pcapng => CaptureFormat::PcapNg,
                WriteFormat::Pcap => CaptureFormat::Pcap,
            }),
            snaplen: self.snaplen(),
            rotate_bytes: self.rotate_size.map(|Size(bytes)| bytes),
            rotate_seconds: self.rotate_seconds,
            files: self.files,
            filter,
            application: concat!("tls-sniff ", env!("CARGO_PKG_VERSION")).to_owned(),
            keylog: self.keylog.clone(),
        })
    }
}
