//! tls-sniff as the service that it is, for as long as asked, while everything around it is disturbed: half a minute
//! with `cargo test`, half an hour by `cargo xtask soak`.
//!
//! ```text
//!  load.py ── real handshakes ──► nginx, behind a veth pair that goes down and up, beside one that comes and goes
//!                                   │
//!  user, capabilities of the unit: tls-sniff ─┬► a file that it rotates          ┐
//!    SIGHUP with changing filters, moved files ├► a file that is moved away, as by logrotate ├► account: what the clients
//!                                              ├► a Unix socket whose reader stalls           │   know and what was told
//!                                              └► Prometheus, watchdog, memory               ┘   or counted as lost
//! ```

use std::{process::ExitCode, time::Duration};

use tls_sniff_tests::{
    need::Need,
    runner::{self, test},
};

#[path = "soak/account.rs"]
mod account;
#[path = "soak/disturb.rs"]
mod disturb;
#[path = "soak/memory.rs"]
mod memory;
#[path = "soak/reader.rs"]
mod reader;
#[path = "soak/rig.rs"]
mod rig;
#[path = "soak/run.rs"]
mod run;
#[path = "soak/service.rs"]
mod service;

/// Minutes, if they are not half a one.
const MINUTES: &str = "TLS_SNIFF_SOAK_MINUTES";

fn main() -> ExitCode {
    let needs: &[Need] = &[
        Need::Root,
        Need::Tool("ip"),
        Need::Tool("nginx"),
        Need::Tool("openssl"),
        Need::Tool("python3"),
        Need::Tool("setpriv"),
        Need::Tool("ss"),
    ];
    runner::main(vec![test("soak::disturbed_service", needs, || {
        let minutes = std::env::var(MINUTES).ok().map(|minutes| minutes.parse::<f64>());
        let minutes = minutes.transpose()?.unwrap_or(0.5);
        run::soak(Duration::from_secs_f64(60.0 * minutes))
    })])
}
