//! Tells the program what it is built from, for `sitewatch -V -v`. Without git, or outside a
//! checkout, it says so and builds all the same.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    // In a worktree it lies elsewhere than in .git.
    if let Some(path) = said(Command::new("git").args(["rev-parse", "--git-path", "logs/HEAD"])) {
        println!("cargo::rerun-if-changed={path}");
    }
    refuse_wrong_clock();
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    tell("SITEWATCH_COMMIT", Command::new("git").args(["rev-parse", "--short=12", "HEAD"]));
    tell("SITEWATCH_COMMIT_S", Command::new("git").args(["log", "-1", "--format=%ct"]));
    tell("SITEWATCH_RUSTC", Command::new(rustc).arg("--version"));
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=SITEWATCH_TARGET={target}");
}

/// On MIPS rustix goes through the C library unless told otherwise, and takes musl's old names
/// with their 32-bit times for the new ones: the clock is nonsense then, and timers never end.
fn refuse_wrong_clock() {
    let cfg = |name: &str| std::env::var(format!("CARGO_CFG_{name}")).ok();
    let (arch, env) = (cfg("TARGET_ARCH"), cfg("TARGET_ENV"));
    let is_raw = cfg("RUSTIX_USE_EXPERIMENTAL_ASM").is_some();
    if arch.as_deref() == Some("mips") && env.as_deref() == Some("musl") && !is_raw {
        println!(
            "cargo::error=times would be wrong: add --cfg rustix_use_experimental_asm to \
             RUSTFLAGS, with RUSTC_BOOTSTRAP=1"
        );
    }
}

fn tell(name: &str, command: &mut Command) {
    if let Some(text) = said(command) {
        println!("cargo::rustc-env={name}={}", text.trim_start_matches("rustc "));
    }
}

/// What a command prints; none if it cannot, or prints nothing.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}
