//! Runs the command that the words of the command line name, and leaves with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(sitewatch::cmd::main(std::env::args_os().skip(1)))
}
