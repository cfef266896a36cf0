//! What is understood, and what is said of the rest.

use super::*;

#[test]
fn what_is_asked_for_is_understood_and_given_back() {
    for text in [
        "stdout",
        "stdout,profile=zeek,format=json",
        "file:/var/log/x.json,events=client_hello+handshake,max-size=100MiB,max-age=1d,keep=7",
        "file:a\\,b\\\\c=d,format=text",
        "unix:/run/vector.sock,profile=ecs",
        "unixgram:x",
        "syslog",
        "syslog,facility=local3,app-name=sniffer",
        "syslog:unix:/run/log",
        "syslog+tcp:logs.example.org:601",
        "syslog+tcp:[2001:db8::1]:601,profile=eve",
    ] {
        assert_eq!(text.parse::<OutputSpec>().unwrap().to_string(), text);
    }
    let spec: OutputSpec = "file:a\\,b,max-size=10k,max-age=90m".parse().unwrap();
    assert_eq!(spec.target, Target::File("a,b".into()));
    let rotation = Rotation { max_size: Some(10 << 10), max_age: Some(5400), keep: None };
    assert_eq!(spec.rotation, rotation);
    assert_eq!("syslog:unix:/dev/log".parse::<OutputSpec>().unwrap().to_string(), "syslog");
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    for (text, expected) in [
        ("", "\"\" is no output: stdout, file:PATH"),
        ("/var/log/x", "\"/var/log/x\" is no output"),
        ("file:", "file: names no file"),
        ("tcp:host:1", "\"tcp:host:1\" is no output"),
        ("syslog:/dev/log", "\"syslog:/dev/log\" is no output"),
        ("syslog+tcp:host", "\"host\" is no HOST:PORT"),
        ("syslog+tcp:2001:db8::1", "\"2001:db8::1\" is no HOST:PORT"),
        ("syslog+tcp:host:0", "\"host:0\" is no HOST:PORT"),
        ("file:a\\b", "a backslash stands before a comma or another backslash, not before \"b\""),
        ("file:x,y", "\"y\" is no option: NAME=VALUE"),
        ("file:x,color=red", "an output has no option \"color\"; there are: events, profile"),
        ("file:x,keep=1,keep=2", "keep is given twice"),
        ("file:x,keep=0,max-size=1M", "keep=0: a number from 1 to 9999"),
        ("file:x,keep=3", "keep counts files"),
        ("file:x,max-size=0", "max-size=0: a number of bytes"),
        ("file:x,max-age=1y", "max-age=1y: a number with s, m, h, d or w"),
        ("unix:x,max-size=1M", "max-size is for file:PATH, not for unix:x"),
        ("stdout,facility=user", "facility is for syslog, not for stdout"),
        ("syslog,facility=secret", "facility=secret: one of kern, user"),
        ("syslog,app-name=a b", "app-name=a b: 1 to 48 printable characters of ASCII"),
        ("stdout,events=hello", "events=hello: \"hello\" is none of client_hello, server_hello"),
        ("stdout,profile=bro", "profile=bro: one of native, zeek, eve, ecs"),
        ("stdout,format=text,profile=eve", "profile is for format=json"),
    ] {
        let error = text.parse::<OutputSpec>().unwrap_err().to_string();
        assert!(error.starts_with(expected) && !error.contains('\n'), "{text}: {error}");
    }
}
