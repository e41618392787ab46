//! Runs the static files of other targets, which `cross/build` makes. A file runs directly or under
//! user-mode emulation of a processor as old as its target allows, so that newer instructions are
//! found. This is apart from `binary` since these files may be missing: then a test that asks for
//! one fails, and none is skipped.

use std::env::consts::ARCH;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::binary::Sitewatch;

/// The default of `$SITEWATCH_ARTEFACTS`: the folder that holds one folder for each target.
const FOLDER: &str = ".cache/sitewatch/artefacts";

/// Emulators by the first word of a target, from Debian's qemu-user-static. Its qemu-user has the
/// same ones without `-static`.
const EMULATORS: [(&str, &str, &str); 6] = [
    ("x86_64", "qemu-x86_64-static", "max"),
    ("aarch64", "qemu-aarch64-static", "cortex-a53"),
    ("armv7", "qemu-arm-static", "cortex-a7"),
    ("arm", "qemu-arm-static", "arm1176"),
    ("riscv64gc", "qemu-riscv64-static", "sifive-u54"),
    ("mipsel", "qemu-mipsel-static", "24Kc"),
];

/// One static file.
#[derive(Debug, Clone)]
pub struct Artefact {
    target: String,
    file: PathBuf,
}

impl Artefact {
    /// Returns the files of the targets that `ARTEFACTS` lists. Panics if it lists none, or one
    /// whose file is missing.
    #[track_caller]
    pub fn asked() -> Vec<Artefact> {
        let asked = std::env::var("ARTEFACTS").unwrap_or_default();
        let asked: Vec<Artefact> = asked.split_whitespace().map(Artefact::of).collect();
        assert!(!asked.is_empty(), "ARTEFACTS names no target: `make test` does");
        asked
    }

    /// Returns the file of one target. Panics if it is missing.
    #[track_caller]
    pub fn of(target: &str) -> Artefact {
        let folder = std::env::var_os("SITEWATCH_ARTEFACTS").map(PathBuf::from);
        let folder = folder.unwrap_or_else(|| {
            let home = std::env::var_os("HOME").unwrap_or_default();
            Path::new(&home).join(FOLDER)
        });
        let file = folder.join(target).join("sitewatch");
        let path = file.display();
        assert!(file.is_file(), "no artefact at {path}: `cross/build {target}` makes it");
        Artefact { target: target.to_owned(), file: file.canonicalize().unwrap() }
    }

    /// Returns its target: `armv7-unknown-linux-musleabihf`.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Returns the path of the file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Tells if it needs an emulator on this machine.
    pub fn is_emulated(&self) -> bool {
        self.architecture() != ARCH
    }

    /// Returns the emulator and its options, which go before the program; empty if it needs none.
    pub fn emulator(&self) -> Vec<&'static str> {
        let (program, cpu) = self.emulated();
        if self.is_emulated() { vec![program, "-cpu", cpu] } else { Vec::new() }
    }

    /// Calls it, without arguments.
    pub fn sitewatch(&self) -> Sitewatch {
        self.within::<&str>(&[])
    }

    /// Returns the words that start it: the emulator, if it needs one, and the file.
    pub fn words(&self) -> Vec<OsString> {
        let emulator = self.emulator().into_iter().map(OsString::from);
        emulator.chain([self.file.clone().into()]).collect()
    }

    /// Calls it through a command that runs its arguments: `unshare --mount`.
    pub fn within<S: AsRef<OsStr>>(&self, before: &[S]) -> Sitewatch {
        let mut words: Vec<OsString> = before.iter().map(Into::into).collect();
        words.extend(self.words());
        Sitewatch::program(words.remove(0)).args(words)
    }

    /// Calls it, without arguments, with its wall clock at this time, `2040-01-01 00:00:00` in UTC;
    /// the clock goes on from there. Every processor is emulated then: a static program asks only
    /// its kernel for the time, but an emulator asks a library, and that can be replaced.
    pub fn at(&self, time: &str) -> Sitewatch {
        let (program, cpu) = self.emulated();
        let program = program.strip_suffix("-static").unwrap();
        let words = [OsStr::new("-cpu"), OsStr::new(cpu), self.file.as_os_str()];
        let call = Sitewatch::program(program).args(words).env("FAKETIME", format!("@{time}"));
        let library = format!("/usr/lib/{ARCH}-linux-gnu/faketime/libfaketimeMT.so.1");
        call.env("LD_PRELOAD", library).env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    /// Returns its emulator and the processor to emulate.
    fn emulated(&self) -> (&'static str, &'static str) {
        let ours = self.architecture();
        let found = EMULATORS.iter().find(|(name, ..)| *name == ours);
        let (_, program, cpu) = found.unwrap_or_else(|| panic!("who emulates {}?", self.target));
        (program, cpu)
    }

    fn architecture(&self) -> &str {
        self.target.split('-').next().unwrap()
    }
}
