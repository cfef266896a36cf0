//! What the fuzzers run, one function for each target of tests/fuzz, on any bytes. It may not panic, every
//! line that comes out must be JSON, and what can be compared with something simpler is.
//!
//! tests/tests/seeds.rs runs the committed seeds through the same functions, on stable Rust.

mod conversation;
mod decoders;
mod reassembly;

pub use conversation::conversation;
pub use decoders::{
    capture_file, certificate, client_hello, event, handshake_messages, server_hello, ssl2,
};
pub use reassembly::reassembly;

/// A target: its name, as that of its folder of seeds, and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 9] = [
    ("capture_file", capture_file),
    ("certificate", certificate),
    ("client_hello", client_hello),
    ("conversation", conversation),
    ("event", event),
    ("handshake_messages", handshake_messages),
    ("reassembly", reassembly),
    ("server_hello", server_hello),
    ("ssl2", ssl2),
];

use crate::schema;
use tls_sniff::{
    observation::Observation,
    sink::{Formatter, json::Profile, text::Columns},
};

/// Writes an observation in every form and reads the JSON again.
fn write(observation: &Observation<'_>, out: &mut Vec<u8>) {
    for profile in [Profile::Native, Profile::Zeek, Profile::Eve, Profile::Ecs] {
        out.clear();
        Formatter::Json(profile).observation(observation, out);
        for line in out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let value: serde_json::Value = serde_json::from_slice(line).expect("a line is JSON");
            assert!(!has_null(&value), "{value}");
            if profile == Profile::Native {
                schema::check(&value).unwrap();
            }
        }
    }
    out.clear();
    Formatter::Text(Columns::default()).observation(observation, out);
    assert!(!out.iter().any(|byte| byte.is_ascii_control() && *byte != b'\n'));
}

/// A field that does not apply is absent.
fn has_null(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => true,
        serde_json::Value::Array(values) => values.iter().any(has_null),
        serde_json::Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}
