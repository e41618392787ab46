//! From the words of the command line to the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(sitewatch::cmd::main(std::env::args_os().skip(1)))
}
