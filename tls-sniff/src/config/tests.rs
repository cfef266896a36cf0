use std::{collections::BTreeSet, env, ffi::OsString, fs, path::Path};

use clap::{Arg, CommandFactory as _};

use super::{
    document::OUTPUT,
    example::example,
    fault::ConfigError,
    invocation::Invocation,
    keys::{Class, KEYS, Options, key_of},
};
use crate::{cli::Cli, observation::EventKind, sink::spec::OutputSpec};

fn options() -> Options {
    Options::of(Cli::command())
}

/// A run with `flags` beside a file.
fn invocation(flags: &[&str]) -> Invocation {
    let arguments = ["tls-sniff", "--config", "config.toml"].iter().chain(flags);
    Invocation::new(arguments.map(OsString::from).collect())
}

fn parsed(text: &str, flags: &[&str]) -> Result<Cli, ConfigError> {
    invocation(flags).options(Some(text))
}

fn valid(text: &str, flags: &[&str]) -> Cli {
    parsed(text, flags).unwrap_or_else(|error| panic!("{text}\n{flags:?}\n{error}"))
}

/// The lines that a file is refused with.
fn refused(text: &str) -> Vec<String> {
    match parsed(text, &[]) {
        Err(error @ ConfigError::Faults { .. }) => {
            assert!(error.hint().is_some());
            error.to_string().lines().map(str::to_owned).collect()
        }
        other => panic!("{text}: {other:?}"),
    }
}

fn in_file(arg: &Arg) -> bool {
    let class = KEYS.iter().find(|key| key.name == key_of(arg)).map(|key| key.class);
    !matches!(class, Some(Class::CommandLineOnly(_)))
}

#[test]
fn every_flag_has_its_key_and_class() {
    let options = options();
    let flags: BTreeSet<&str> = options.all().map(key_of).collect();
    let keys: BTreeSet<&str> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(flags, keys);
    assert_eq!(keys.len(), KEYS.len(), "one class for each");
    assert_eq!(options.all().filter(|arg| arg.is_positional()).count(), 1, "the expression");
}

#[test]
fn the_example_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/config.toml");
    if env::var_os("UPDATE_EXAMPLES").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, example()).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let same = committed == example();
    assert!(same, "UPDATE_EXAMPLES=1 cargo test -p tls-sniff --lib example  writes {path:?}");
}

/// As it is, line by line, and all of it at once.
#[test]
fn the_example_is_valid() {
    let example = example();
    let defaults = format!("{:?}", valid("", &[]));
    assert_eq!(format!("{:?}", valid(&example, &[])), defaults);
    // Comments have a space behind their #.
    let commented = |line: &&str| !line.starts_with([' ', '#']) && !line.is_empty();
    let lines = || example.lines().filter_map(|line| line.strip_prefix('#')).filter(commented);
    let all: String = lines().map(|line| format!("{line}\n")).collect();
    let underscores: String = lines()
        .map(|line| line.split_once(" = ").map_or((line, ""), |(key, value)| (key, value)))
        .map(|(key, value)| match value {
            "" => format!("{key}\n"),
            value => format!("{} = {value}\n", key.replace('-', "_")),
        })
        .collect();
    let keys: Vec<&str> = lines().filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
    for key in options().all().filter(|arg| in_file(arg)).map(key_of).filter(|key| *key != OUTPUT) {
        assert!(keys.contains(&key), "{key}");
    }
    for option in OutputSpec::OPTIONS {
        assert!(keys.contains(&option.name), "{}", option.name);
    }
    assert_eq!(valid(&all, &[]).outputs(false).len(), 2);
    valid(&all, &[]);
    valid(&underscores, &[]);
    // Whoever has a service may still read a file.
    valid(&all, &["-r", "capture.pcap"]);
}

#[test]
fn keys_are_what_flags_are() {
    let file = r#"
        interface = ["eth0", "eth1"]
        port = [443, "8443-8450"]
        events = ["alert", "handshake"]
        tls_version = "1.3"
        sni = ["", "*.example"]
        stats-interval = 60
        ring-bytes = 0x10_0000
        weak = true
        verbose = false
        expression = "-ip[8] > 5"
        rotate-size = 5
        write = "x.pcapng"
    "#;
    let flags = [
        "-i",
        "eth0",
        "-i",
        "eth1",
        "-p",
        "443,8443-8450",
        "--events",
        "alert,handshake",
        "--tls-version",
        "1.3",
        "--sni",
        ",*.example",
        "--stats-interval",
        "60",
        "--ring-bytes",
        "1048576",
        "--weak",
        "-C",
        "5",
        "-w",
        "x.pcapng",
        "--",
        "-ip[8] > 5",
    ];
    let config = format!("config: {:?}", Some("config.toml"));
    let by_file = format!("{:?}", valid(file, &[])).replace(&config, "config: None");
    let by_flags =
        Invocation::new(["tls-sniff"].iter().chain(&flags).map(OsString::from).collect());
    assert_eq!(by_file, format!("{:?}", by_flags.options(None).unwrap()));
    // Tables, and words.
    let table = "[[output]]\nto = 'file:a,b'\nevents = ['alert', 'handshake']\nmax_size = 1048576\n\
                 [[output]]\nto = 'syslog'\nprofile = 'ecs'";
    let words =
        "output = ['file:a\\,b,events=alert+handshake,max-size=1MiB', 'syslog,profile=ecs']";
    let outputs = |text: &str| format!("{:?}", valid(text, &[]).outputs(false));
    assert_eq!(outputs(table), outputs(words));
    assert_eq!(valid(table, &["--output", "stdout"]).outputs(false).len(), 1);
    // An empty list is no key.
    assert_eq!(valid("events = []\nport = []", &[]).events(), EventKind::DEFAULT);
}

#[test]
fn flags_win() {
    let file = "interface = ['eth0', 'eth1']\nevents = ['alert']\nquiet = true\nhook = 'xdp'\n\
                expression = 'port 443'";
    let cli = valid(file, &["-i", "lo", "--events", "handshake"]);
    assert_eq!(cli.interface, ["lo"]);
    assert_eq!(cli.events(), [EventKind::Handshake]);
    assert_eq!(cli.log_level(), tracing::Level::WARN);
    // One that conflicts makes the key step back.
    assert_eq!(valid(file, &["-v"]).log_level(), tracing::Level::DEBUG);
    assert_eq!(valid(file, &["-r", "x"]).interface, ["any"]);
    let said = |flags: &[&str]| format!("{:?}", valid(file, flags));
    assert!(said(&[]).contains(r#"["port 443"]"#) && said(&["--"]).contains(r#"["port 443"]"#));
    assert!(said(&["host", "x"]).contains(r#"["host", "x"]"#));
    // What a flag needs may be in the file.
    valid("hook = 'xdp'", &["--xdp-mode", "generic"]);
    valid("xdp-mode = 'generic'\ninterface = 'x'", &["--tap"]);
    valid("xdp-mode = 'generic'", &["-r", "x"]);
    valid("xdp-mode = 'generic'", &["--xdp-mode", "auto"]);
    assert!(valid("write = 'x.pcapng'", &["--snaplen", "100"]).capture.snaplen() == 100);
    // What is wrong with the command line stays clap's to say.
    for wrong in ["--interfaces", "--help"] {
        assert!(matches!(invocation(&[wrong]).read(), Err(ConfigError::Usage(_))), "{wrong}");
    }
    assert!(matches!(invocation(&[]).read(), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn every_fault_has_its_place() {
    let cases: &[(&str, &[&str])] = &[
        ("intreface = 'eth0'", &[r#"1:1: unknown key "intreface": did you mean "interface"?"#]),
        ("\n\n  jason = 1", &[r#"3:3: unknown key "jason""#]),
        ("count = 0", &["1:9: count: 0 is not in 1..18446744073709551615"]),
        (
            "# ä\nport = [443, '450-443']",
            &["2:14: port: the range 450-443 is empty: its end is below"],
        ),
        ("hook = 'xdpp'", &[r#"1:8: hook: "xdpp" is none of tc, xdp: did you mean "xdp"?"#]),
        (
            "cipher = ['0xfefe', 'TLS_AES_128_GCM_SHA265']",
            &[r#"1:21: cipher: "TLS_AES_128_GCM_SHA265" is no cipher suite"#],
        ),
        ("ja4 = 't13'", &[r#"1:7: ja4: "t13" is no JA4"#]),
        ("hook = ['xdp']", &["1:8: hook takes text in quotes, not a list"]),
        ("tap = 'yes'", &["1:7: tap takes true or false, not text"]),
        ("count = '5'", &["1:9: count takes a whole number, not text"]),
        ("write = 5", &["1:9: write takes text in quotes, not a number"]),
        (
            "tls-version = 1.3",
            &[
                "1:15: tls-version takes text in quotes, or a list of such, not a number with a fraction",
            ],
        ),
        ("[filters]\nport = 1", &[r#"1:2: unknown key "filters""#]),
        ("port.a = 1", &["1:1: port takes text in quotes, or a list of such, not a table"]),
        ("read = 'x'", &[r#"1:1: "read" does not go into a file: -r reads a capture file once,"#]),
        (
            "json-profile = 'eve'\njson_profile = 'ecs'",
            &[r#"2:1: "json-profile" is set in line 1"#],
        ),
        ("output = 'x:y'", &[r#"1:10: output: "x:y" is no output: stdout,"#]),
        ("output = 1", &["1:10: output takes tables ([[output]]) or text in quotes, not a number"]),
        ("\n[[output]]\nevents = 'alert'", &["2:1: [[output]] without `to`"]),
        (
            "[[output]]\nto = 'stdout'\nprofil = 'eve'\nport = 1\nkeep = true\nfacility = 'user'",
            &[
                r#"3:1: unknown key "profil" in [[output]]: did you mean "profile"?"#,
                r#"4:1: "port" is no option of an output: it goes above the first [[output]]"#,
                "5:8: keep takes text in quotes, a whole number or a list of texts, not true or false",
                "6:12: output: facility is for syslog, not for stdout",
            ],
        ),
        (
            "[[output]]\nto = 'stdout'\nevents = []",
            &["3:10: events is an empty list, and an output without events is none: leave it out"],
        ),
        ("[[output]]\nto = 'file:x'\nkeep = 3", &["1:1: output: keep counts files"]),
        ("output = ['file:x', 'file:x']", &["1:1: two outputs are file:x"]),
        // At once, in the order of the file.
        (
            "hoook = 1\ncount = 0\nport = true",
            &["1:1: unknown", "2:9: count: 0", "3:8: port takes"],
        ),
        // What does not go together.
        ("tap = true\nhook = 'tc'\ninterface = 'x'", &["1:1: --tap drops packets at XDP"]),
        ("\ntap = true\ntc-order = 'last'", &["2:1: the argument '--tap' cannot be used with"]),
        ("\nxdp-mode = 'native'", &["2:1: --xdp-mode is of the XDP program, which there is with"]),
        ("\nsnaplen = 100", &["2:1: snaplen goes only with --write <FILE>"]),
        ("write = '-'\nformat = 'json'", &["1:1: stdout is taken by the capture of `-w -`"]),
        // What is no TOML.
        ("port = ", &["1:8: "]),
        ("port = [443\nhost = 1", &["2:"]),
        ("port = 1\nport = 2", &["2:1: duplicate key"]),
    ];
    for (text, expected) in cases {
        let lines = refused(text);
        let expected: Vec<String> = expected.iter().map(|it| format!("config.toml:{it}")).collect();
        let fits = lines.iter().zip(&expected).all(|(line, start)| line.starts_with(start));
        assert!(fits && lines.len() == expected.len(), "{text}\n{lines:#?}\n{expected:#?}");
    }
}

#[test]
fn a_reload_changes_what_it_can() {
    let old = "interface = 'eth0'\nport = 443\nevents = ['handshake']\nno-dedup = true";
    let run = invocation(&["--events", "alert"]);
    let reload = |new: &str| run.reload(old, new);
    let changed = |new: &str| reload(new).unwrap().changed;
    assert!(changed(old).is_empty());
    // The same in other words, a default said, a key that a flag overrides.
    let same = "port = ['443']\ninterface = ['eth0']\nno_dedup = true\ntc-order = 'first'\nevents = 'alert'";
    assert!(changed(same).is_empty());
    let other =
        format!("{old}\nsni = '*.example'\nexpression = 'port 443'").replace("443\n", "8443\n");
    assert_eq!(changed(&other), ["expression", "port", "sni"]);
    let refused = |new: &str| reload(new).unwrap_err().to_string();
    assert_eq!(
        refused(&old.replace("eth0", "eth1")),
        "config.toml:1:1: interface changes only with a restart"
    );
    assert_eq!(
        refused("port = 1\ninterface = 'eth1'"),
        "config.toml:1:1: no-dedup, which was in line 4, goes away only with a restart\n\
         config.toml:2:1: interface changes only with a restart"
    );
    assert_eq!(refused("port = 70000").lines().count(), 1);
}
