//! Tells the program what it is built from, for `sitewatch -V -v`. Without git, or outside a
//! checkout, it says so and builds all the same.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    if Path::new(".git/logs/HEAD").exists() {
        println!("cargo::rerun-if-changed=.git/logs/HEAD");
    }
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    tell("SITEWATCH_COMMIT", Command::new("git").args(["rev-parse", "--short=12", "HEAD"]));
    tell("SITEWATCH_RUSTC", Command::new(rustc).arg("--version"));
}

fn tell(name: &str, command: &mut Command) {
    let Ok(output) = command.output() else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && !text.trim().is_empty() {
        println!("cargo::rustc-env={name}={}", text.trim().trim_start_matches("rustc "));
    }
}
