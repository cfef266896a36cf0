//! The keys of the file: clap's long flags, each of which is also in [`KEYS`], by a test.

use std::{any::TypeId, path::PathBuf};

use clap::{Arg, ArgAction, Command};

use crate::nearest::nearest;

/// When a key that has changed takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// With a reload.
    Running,
    /// With a restart.
    Restart,
    /// Never: the flag is none for a file, for this reason.
    CommandLineOnly(&'static str),
}

/// What is known of a key beside what clap knows of its flag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// The long flag's name; `expression` is the argument without a flag.
    pub(super) name: &'static str,
    pub(super) class: Class,
    /// A value in TOML that shows how it is written.
    pub(super) sample: &'static str,
}

const fn running(name: &'static str, sample: &'static str) -> Key {
    Key { name, class: Class::Running, sample }
}

const fn restart(name: &'static str, sample: &'static str) -> Key {
    Key { name, class: Class::Restart, sample }
}

const fn never(name: &'static str, reason: &'static str) -> Key {
    Key { name, class: Class::CommandLineOnly(reason), sample: "" }
}

/// All of them.
pub(super) const KEYS: &[Key] = &[
    restart("interface", r#"["eth0", "eth1"]"#),
    never("read", "-r reads a capture file once, the configuration is for runs that last"),
    never("config", "a file does not name another"),
    restart("no-dedup", "true"),
    restart("hook", r#""xdp""#),
    restart("tap", "true"),
    restart("tap-force", "true"),
    restart("tc-attach", r#""tcx""#),
    restart("xdp-mode", r#""native""#),
    restart("tc-order", r#""last""#),
    running("format", r#""json""#),
    running("json-profile", r#""eve""#),
    running("output", r#""file:/var/log/tls-sniff/events.json,max-size=100MiB""#),
    restart("count", "1000"),
    running("events", r#"["handshake"]"#),
    restart("payload-bytes", "16384"),
    restart("ring-bytes", "8388608"),
    running("stats-interval", "60"),
    running("verbose", "true"),
    running("quiet", "true"),
    never("explain", "`tls-sniff check-config` says what a file selects"),
    running("expression", r#""host 192.0.2.7 and not port 8443""#),
    running("port", r#"[443, "8443-8450", "not src 8444"]"#),
    running("host", r#"["192.0.2.7", "not 2001:db8::1"]"#),
    running("net", r#"["10.0.0.0/8", "not src 2001:db8::/32"]"#),
    running("net-file", r#""/etc/tls-sniff/networks""#),
    running("direction", r#""in""#),
    running("vlan", r#"[100, "none"]"#),
    running("content", r#"["handshake", "alert"]"#),
    running("handshake", r#"["client_hello", "certificate"]"#),
    running("record-version", r#"["1.0"]"#),
    running("hello-version", r#"["1.2"]"#),
    running("payload-len", r#""1..1460""#),
    running("tcp", r#"["syn", "rst"]"#),
    running("sample", r#""1/8""#),
    running("tls-version", r#"["1.0", "1.1"]"#),
    running("sni", r#"["*.example.org", "!www.example.org"]"#),
    running("alpn", r#"["h2"]"#),
    running("cipher", r#"["TLS_AES_*", "0x1302"]"#),
    running("ja4", r#"["t13d*"]"#),
    running("outcome", r#"["failed"]"#),
    running("weak", "true"),
    restart("write", r#""/var/log/tls-sniff/%Y-%m-%d.pcapng.zst""#),
    restart("write-format", r#""pcapng""#),
    restart("write-scope", r#""handshake""#),
    restart("snaplen", "256"),
    restart("rotate-size", r#""100M""#),
    restart("rotate-seconds", "86400"),
    restart("files", "30"),
    restart("keylog", r#""/run/tls-sniff/keys""#),
    restart("metrics", r#""127.0.0.1:9921""#),
    restart("metrics-sni", "20"),
    restart("require-sandbox", "true"),
    restart("no-sandbox", "true"),
    never("help", "it is a question"),
    never("version", "it is a question"),
];

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing: it is there or not.
    Switch,
    /// A whole number.
    Number,
    /// Text, as names are.
    Text,
    /// A word or a number of a language of its own, as ports are.
    Word,
}

impl Takes {
    /// In words; of a list each element.
    pub(super) const fn words(self, list: bool) -> &'static str {
        match (self, list) {
            (Self::Switch, _) => "true or false",
            (Self::Number, false) => "a whole number",
            (Self::Text | Self::Word, false) => "text in quotes",
            (Self::Number, true) => "whole numbers",
            (Self::Text | Self::Word, true) => "text in quotes, or a list of such",
        }
    }
}

/// What a file may set, by clap.
pub(crate) struct Options {
    command: Command,
}

impl Options {
    pub(super) const HINT: &str =
        "an output has `to` and what the options of --output are, see `tls-sniff --help`";

    /// The arguments of `command`.
    pub(crate) fn of(mut command: Command) -> Self {
        command.build();
        Self { command }
    }

    /// All that people see, in clap's order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arg> {
        self.command.get_arguments().filter(|arg| !arg.is_hide_set())
    }

    /// The argument whose key is `name`, with hyphens.
    pub(super) fn get(&self, name: &str) -> Option<&Arg> {
        self.all().find(|arg| key_of(arg) == name)
    }

    /// Whether two arguments must not stand together.
    pub(super) fn conflict(&self, one: &Arg, other: &Arg) -> bool {
        let names = |arg: &Arg, of: &Arg| {
            self.command.get_arg_conflicts_with(arg).iter().any(|it| it.get_id() == of.get_id())
        };
        names(one, other) || names(other, one)
    }

    /// The key that is most like `name`, if one is.
    pub(super) fn nearest(&self, name: &str) -> Option<String> {
        let keys = self.all().map(key_of).filter(|key| {
            !matches!(known(key).map(|key| key.class), Some(Class::CommandLineOnly(_)))
        });
        nearest(name, keys).map(str::to_owned)
    }
}

/// The key of an argument.
pub(super) fn key_of(arg: &Arg) -> &str {
    arg.get_long().unwrap_or_else(|| arg.get_id().as_str())
}

/// What is known of a key.
pub(super) fn known(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// What an argument takes.
pub(super) fn takes(arg: &Arg) -> Takes {
    let of = arg.get_value_parser().type_id();
    let is = |types: &[TypeId]| types.iter().any(|it| of == *it);
    if !arg.get_action().takes_values() {
        Takes::Switch
    } else if is(&[
        TypeId::of::<u64>(),
        TypeId::of::<u32>(),
        TypeId::of::<u16>(),
        TypeId::of::<usize>(),
    ]) {
        Takes::Number
    } else if is(&[TypeId::of::<String>(), TypeId::of::<PathBuf>()]) {
        Takes::Text
    } else {
        Takes::Word
    }
}

/// Whether an argument may be given more than once.
pub(super) fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append) && arg.get_long().is_some()
}
