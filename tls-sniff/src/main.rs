//! Arguments, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    tls_sniff::main()
}
