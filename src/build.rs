//! Build script: passes commit, compiler and target to the program, for `sitewatch -V -v`. Without git, or
//! outside a checkout, the program is built without the commit.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    // In a worktree the log of HEAD does not lie in .git.
    if let Some(path) =
        read_output(Command::new("git").args(["rev-parse", "--git-path", "logs/HEAD"]))
    {
        println!("cargo::rerun-if-changed={path}");
    }
    refuse_wrong_clock();
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    set_variable("SITEWATCH_COMMIT", Command::new("git").args(["rev-parse", "--short=12", "HEAD"]));
    set_variable("SITEWATCH_COMMIT_S", Command::new("git").args(["log", "-1", "--format=%ct"]));
    set_variable("SITEWATCH_RUSTC", Command::new(rustc).arg("--version"));
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=SITEWATCH_TARGET={target}");
}

/// Stops a build for MIPS whose clock would be wrong. There rustix calls the C library unless a flag says
/// otherwise, and takes musl's old functions, with times of 32 bits, for the new ones: timers never end.
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

fn set_variable(name: &str, command: &mut Command) {
    if let Some(text) = read_output(command) {
        println!("cargo::rustc-env={name}={}", text.trim_start_matches("rustc "));
    }
}

/// Returns the output of a command; none if the command fails or prints nothing.
fn read_output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}
