//! The command line: raw flags, and what they mean together.

mod asked;
mod capture;
mod contradictions;
mod doctor;
mod filter;
mod handshake;
mod metrics;
mod output;
mod sandbox;

use std::{path::PathBuf, time::Duration};

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum, builder::RangedU64ValueParser};
use clap_complete::Shell;
use tls_sniff_common::config;
use tracing::Level;

pub(crate) use self::{
    asked::Asked,
    doctor::{DoctorFlags, DoctorFormat},
};
use self::{
    capture::CaptureFlags, filter::FilterFlags, handshake::HandshakeFlags, metrics::MetricsFlags,
    output::OutputFlags, sandbox::SandboxFlags,
};
use crate::{
    attach::{AttachOptions, IngressHook, Order, OwnerHandle, Tap, TcAttach, XdpAttach},
    error::Error,
    filter::{
        PacketFilter,
        expression::{Expression, LinkType},
        handshake::HandshakeFilter,
    },
    nearest::nearest,
    observation::EventKind,
    sink::{Form, json::Profile, open::OutputOptions},
};

/// Shows the TLS handshakes of a host, live from the kernel or from a capture file.
///
/// Without arguments it watches every interface that is up, in both directions, and needs root or
/// CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON. Events go to stdout, one a line; log messages to stderr.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, args_conflicts_with_subcommands = true, disable_help_subcommand = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) inner: Option<Inner>,

    /// Interface to watch (repeatable), or `any`: all that are up, also those that appear later
    #[arg(short, long = "interface", value_name = "IFACE", default_value = "any")]
    pub(crate) interface: Vec<String>,

    /// Read options from a TOML file too, whose keys are the flags' names; a flag replaces its key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Read packets from a pcap or pcapng file instead, `-` for stdin; needs no privileges
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["interface", "hook", "tap_force", "tc_attach", "xdp_mode", "tc_order", "ring_bytes", "stats_interval"])]
    pub(crate) read: Option<PathBuf>,

    /// Show a packet that crosses several interfaces once for each, not once with all of them
    #[arg(long)]
    pub(crate) no_dedup: bool,

    /// Where ingress is watched [default: tc]; egress is always watched at tc
    #[arg(long, value_name = "HOOK")]
    hook: Option<Hook>,

    /// The interface gets copies (a mirror port, a tap): drop all that comes in behind the XDP program, so
    /// that the stack never sees it. Refused on an interface that is used, as by an address
    #[arg(long, conflicts_with_all = ["read", "tc_attach", "tc_order"])]
    tap: bool,

    /// --tap on an interface that is used
    #[arg(long, requires = "tap")]
    tap_force: bool,

    /// How tc programs are attached; auto takes tcx where the kernel has it (6.6)
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub(crate) tc_attach: TcHow,

    /// How the XDP program (--hook xdp, --tap) is attached; auto takes native where the driver can
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub(crate) xdp_mode: XdpHow,

    /// Place among other tc programs: first sees what they may drop, last what they let through
    #[arg(long, value_name = "PLACE", default_value = "first")]
    pub(crate) tc_order: Place,

    /// Events as json lines, aligned text, or none [default: text on a terminal, none if the capture goes
    /// to stdout, else json]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,

    /// JSON with whose field names [default: native]; all others have one line for each handshake
    #[arg(long, value_name = "PROFILE")]
    pub(crate) json_profile: Option<Profile>,

    /// Stop after N events; with --format none, after N packets
    #[arg(short, long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub(crate) count: Option<u64>,

    /// Kinds of events to show, separated by commas [default: client_hello, server_hello, certificate,
    /// alert, handshake; with filters for records or segments what those select]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_enum, hide_default_value = true)]
    events: Vec<EventKind>,

    /// Payload bytes to copy of each segment at most, from 64; what is beyond makes events `partial`
    #[arg(long, value_name = "BYTES", default_value_t = config::MAX_CAPTURE_LEN,
          value_parser = clap::value_parser!(u32).range(i64::from(config::MIN_CAPTURE_LEN)..=i64::from(config::MAX_CAPTURE_LEN)))]
    pub(crate) payload_bytes: u32,

    /// Size of the ring buffer between kernel and tls-sniff; rounded up to a power of two of pages and to room for two events
    #[arg(long, value_name = "BYTES", default_value_t = config::DEFAULT_RING_LEN,
          value_parser = clap::value_parser!(u32).range(4096..=1 << 30))]
    pub(crate) ring_bytes: u32,

    /// Write a `stats` event every so many seconds too, not only after losses and at the end
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub(crate) stats_interval: Option<u64>,

    /// Log more to stderr, the verifier's words among it
    #[arg(short, long)]
    verbose: bool,

    /// Log only warnings and errors
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,

    /// Say in words what the flags select, where each test runs and where it goes, and do nothing else
    #[arg(long)]
    pub(crate) explain: bool,

    #[command(flatten)]
    filters: FilterFlags,

    #[command(flatten)]
    handshakes: HandshakeFlags,

    #[command(flatten)]
    output: OutputFlags,

    #[command(flatten)]
    pub(crate) capture: CaptureFlags,

    #[command(flatten)]
    pub(crate) metrics: MetricsFlags,

    #[command(flatten)]
    pub(crate) sandbox: SandboxFlags,
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  tls-sniff                          every handshake on this host
  tls-sniff -i eth0 --hook xdp       ingress at XDP, egress at tc
  tls-sniff -i eth1 --tap            a mirror port: the stack never sees the copies
  tls-sniff --events client_hello | jq -r .sni
  tls-sniff --events handshake       one line for each connection
  tls-sniff -r capture.pcapng        the same from a file
  tls-sniff -i any 'host 10.0.0.1 and not port 8443'
  tls-sniff -p 443 --net 'not 10.0.0.0/8' --content alert --explain
  tls-sniff --config watch.toml -i eth0
  tls-sniff --sni '*.example.org' --outcome failed -w failed.pcapng --write-scope handshake

Exit codes: 0 done, 1 failed, 2 wrong usage.";

/// The configuration that the service has.
const DEFAULT_CONFIG: &str = "/etc/tls-sniff/config.toml";

#[derive(Debug, Subcommand)]
pub(crate) enum Inner {
    /// Removes clsact filters when its parent has ended (started by tls-sniff itself)
    #[command(hide = true)]
    ClsactGuard { owner: OwnerHandle },
    /// Says what is wrong with a configuration, or what it selects
    CheckConfig {
        /// The file
        #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
        file: PathBuf,
    },
    /// Writes a completion script for a shell to stdout
    Completions {
        /// Which
        shell: Shell,
    },

    /// Tells what this kernel, these privileges and these interfaces allow, and what to do about the rest
    ///
    /// Nothing is attached or changed. Exit code 0 if a live capture works, 1 if not.
    Doctor(DoctorFlags),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Hook {
    /// Both directions at tc, after GRO and before segmentation
    Tc,
    /// Ingress at XDP, before the stack
    Xdp,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TcHow {
    Auto,
    Tcx,
    Clsact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum XdpHow {
    Auto,
    Native,
    Generic,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Place {
    First,
    Last,
}

/// The output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line.
    Json,
    /// Aligned text for people.
    Text,
    /// No events: for -w.
    None,
}

impl Cli {
    /// Which log messages are wanted.
    pub(crate) const fn log_level(&self) -> Level {
        match (self.quiet, self.verbose) {
            (true, _) => Level::WARN,
            (false, false) => Level::INFO,
            (false, true) => Level::DEBUG,
        }
    }

    /// Where events are written to; `terminal`: whether stdout is one.
    pub(crate) fn outputs(&self, terminal: bool) -> Vec<OutputOptions> {
        let format = |terminal| self.format(terminal);
        let events = |form| self.events_of(form);
        self.output.options(self.json_profile, format, events, terminal)
    }

    /// The kinds of events that any output asks for.
    pub(crate) fn events(&self) -> Vec<EventKind> {
        let outputs = self.outputs(false);
        if outputs.is_empty() {
            return self.events_of(Form::Text);
        }
        let mut all = Vec::new();
        for kind in outputs.iter().flat_map(|output| &output.events) {
            if !all.contains(kind) {
                all.push(*kind);
            }
        }
        all
    }

    /// The kinds of events of an output that does not say it itself.
    fn events_of(&self, form: Form) -> Vec<EventKind> {
        match &self.events[..] {
            // Other profiles have nothing else.
            [] if !matches!(form, Form::Text | Form::Json(Profile::Native)) => {
                vec![EventKind::Handshake]
            }
            [] => self.filters.default_events(),
            asked => asked.to_vec(),
        }
    }

    /// Which packets are wanted.
    ///
    /// # Errors
    ///
    /// If a file of networks cannot be used.
    pub(crate) fn filter(&self) -> Result<PacketFilter, Error> {
        let mut filter = self.filter_of_records();
        filter.networks = self.filters.networks()?;
        Ok(filter)
    }

    /// The same without the networks, of which user space asks nothing in a live run: they may be those of a file.
    pub(crate) fn filter_of_records(&self) -> PacketFilter {
        let filter = self.filters.filter_of_records(&self.events());
        // What a handshake came to is only known of whole ones.
        let follows_handshakes = filter.follows_handshakes || !self.handshakes().is_empty();
        PacketFilter { scope: self.capture.scope(), follows_handshakes, ..filter }
    }

    /// Which handshakes are wanted.
    pub(crate) fn handshakes(&self) -> HandshakeFilter {
        self.handshakes.filter()
    }

    /// The expression, if there is one, which may take as long as `patience`.
    ///
    /// # Errors
    ///
    /// If libpcap is missing, does not take it or takes longer.
    pub(crate) fn expression(&self, patience: Duration) -> Result<Option<Expression>, Error> {
        let Some((text, links)) = self.to_be_compiled() else { return Ok(None) };
        Ok(Some(Expression::apart(&text, links, patience)?))
    }

    /// The same while the reactor goes on with other things.
    ///
    /// # Errors
    ///
    /// As [`Cli::expression`].
    pub(crate) async fn expression_meanwhile(
        &self,
        patience: Duration,
    ) -> Result<Option<Expression>, Error> {
        let Some((text, links)) = self.to_be_compiled() else { return Ok(None) };
        Ok(Some(Expression::apart_meanwhile(&text, links, patience).await?))
    }

    /// The expression, if there is one, and for what it is compiled ahead of its use.
    fn to_be_compiled(&self) -> Option<(String, &'static [LinkType])> {
        let links: &[_] = match self.read {
            // Files of others are rare.
            Some(_) => &[LinkType::Ethernet],
            None => &[LinkType::Ethernet, LinkType::RawIp],
        };
        Some((self.filters.expression(), links)).filter(|(text, _)| !text.is_empty())
    }

    /// The command whose name is most like the expression's first word, if one is.
    pub(crate) fn near_command(&self) -> Option<String> {
        let command = Self::command();
        let commands = command.get_subcommands().filter(|command| !command.is_hide_set());
        let text = self.filters.expression();
        let first = text.split_whitespace().next()?;
        nearest(first, commands.map(clap::Command::get_name)).map(str::to_owned)
    }

    /// What is written to stdout, on a terminal or not.
    pub(crate) fn format(&self, terminal: bool) -> Format {
        match self.format {
            Some(format) => format,
            None if self.capture.to_stdout() && self.json_profile.is_none() => Format::None,
            None if terminal && self.json_profile.is_none() => Format::Text,
            None => Format::Json,
        }
    }

    pub(crate) const fn attach_options(&self) -> AttachOptions {
        AttachOptions {
            ingress: match (self.hook, self.tap) {
                (Some(Hook::Xdp), _) | (_, true) => IngressHook::Xdp,
                (Some(Hook::Tc) | None, false) => IngressHook::Tc,
            },
            tap: match (self.tap, self.tap_force) {
                (false, _) => Tap::No,
                (true, false) => Tap::Unused,
                (true, true) => Tap::Forced,
            },
            tc: match self.tc_attach {
                TcHow::Auto => TcAttach::Auto,
                TcHow::Tcx => TcAttach::Tcx,
                TcHow::Clsact => TcAttach::Clsact,
            },
            xdp: match self.xdp_mode {
                XdpHow::Auto => XdpAttach::Auto,
                XdpHow::Native => XdpAttach::Native,
                XdpHow::Generic => XdpAttach::Generic,
            },
            order: match self.tc_order {
                Place::First => Order::First,
                Place::Last => Order::Last,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn text(arguments: &[&str]) -> String {
        let cli = Cli::try_parse_from([&["tls-sniff"], arguments].concat()).unwrap();
        assert!(cli.inner.is_none());
        cli.filters.expression()
    }

    #[test]
    fn an_expression_is_one_word_or_several() {
        assert_eq!(text(&[]), "");
        assert_eq!(text(&[" "]), "");
        assert_eq!(text(&["port 443"]), "port 443");
        assert_eq!(text(&["port", "443"]), "port 443");
        assert_eq!(text(&["-i", "eth0", "host", "10.0.0.1", "-p", "443"]), "host 10.0.0.1");
        assert_eq!(text(&["--", "-ip[8] > 5"]), "-ip[8] > 5");
        // No subcommand, hidden or clap's own.
        for word in ["help", "guard", "clsact"] {
            assert_eq!(text(&[word, "or", "ip"]), format!("{word} or ip"));
        }
    }

    #[test]
    fn a_word_like_a_command_is_known_as_that() {
        for (words, expected) in [
            (&["docter"][..], Some("doctor")),
            (&["-v", "check-confg", "x"], Some("check-config")),
            (&["completion bash"], Some("completions")),
            (&["host", "doctor"], None),
            (&["clsact-gard", "1"], None),
            (&["port 443"], None),
            (&[], None),
        ] {
            let cli = Cli::try_parse_from([&["tls-sniff"], words].concat()).unwrap();
            assert_eq!(cli.near_command().as_deref(), expected, "{words:?}");
        }
    }

    #[test]
    fn the_guard_is_none() {
        let cli = Cli::try_parse_from(["tls-sniff", "clsact-guard", "1"]).map(|cli| cli.inner);
        let guarded = matches!(cli, Ok(Some(Inner::ClsactGuard { .. })));
        assert!(guarded || cli.is_err_and(|error| error.kind() == ErrorKind::ValueValidation));
    }
}
