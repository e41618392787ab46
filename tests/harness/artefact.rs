//! The program as it is handed out: one static file a target, built elsewhere (`cross/build`) and
//! run here as it is, or under user-mode emulation of a processor as old as the target allows, so
//! that newer instructions do not pass unseen. Apart from `binary`, since these files may be
//! missing: then who has asked for one is told so, and nothing is skipped.

use std::env::consts::ARCH;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::binary::Sitewatch;

/// Where artefacts are, one folder a target, if `$SITEWATCH_ARTEFACTS` does not say.
const FOLDER: &str = ".cache/sitewatch/artefacts";

/// Who runs what is not for this machine, by the target's first word: Debian's qemu-user-static.
/// Its qemu-user has the same ones without `-static`.
const EMULATORS: [(&str, &str, &str); 6] = [
    ("x86_64", "qemu-x86_64-static", "max"),
    ("aarch64", "qemu-aarch64-static", "cortex-a53"),
    ("armv7", "qemu-arm-static", "cortex-a7"),
    ("arm", "qemu-arm-static", "arm1176"),
    ("riscv64gc", "qemu-riscv64-static", "sifive-u54"),
    ("mipsel", "qemu-mipsel-static", "24Kc"),
];

/// One built file.
#[derive(Debug, Clone)]
pub struct Artefact {
    target: String,
    file: PathBuf,
}

impl Artefact {
    /// Those that `ARTEFACTS` asks for, a list of targets. Panics if it names none, or one that
    /// is not there.
    #[track_caller]
    pub fn asked() -> Vec<Artefact> {
        let asked = std::env::var("ARTEFACTS").unwrap_or_default();
        let asked: Vec<Artefact> = asked.split_whitespace().map(Artefact::of).collect();
        assert!(!asked.is_empty(), "ARTEFACTS names no target: `make test` does");
        asked
    }

    /// That of one target. Panics if it is not there.
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

    /// For what it was built: `armv7-unknown-linux-musleabihf`.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The file itself.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether it needs an emulator here.
    pub fn is_emulated(&self) -> bool {
        self.architecture() != ARCH
    }

    /// The emulator with its options, before the program; nothing where none is needed.
    pub fn emulator(&self) -> Vec<&'static str> {
        let (program, cpu) = self.emulated();
        if self.is_emulated() { vec![program, "-cpu", cpu] } else { Vec::new() }
    }

    /// A call of it, without arguments.
    pub fn sitewatch(&self) -> Sitewatch {
        self.within::<&str>(&[])
    }

    /// The words that start it: the emulator, where one is needed, and the file.
    pub fn words(&self) -> Vec<OsString> {
        let emulator = self.emulator().into_iter().map(OsString::from);
        emulator.chain([self.file.clone().into()]).collect()
    }

    /// The same behind a command that runs what follows it: `unshare --mount`.
    pub fn within<S: AsRef<OsStr>>(&self, before: &[S]) -> Sitewatch {
        let mut words: Vec<OsString> = before.iter().map(Into::into).collect();
        words.extend(self.words());
        Sitewatch::program(words.remove(0)).args(words)
    }

    /// A call of it, without arguments, at another time of the wall clock: `2040-01-01 00:00:00`, in
    /// UTC; the clock goes on from there. Under emulation whatever the processor, since a static
    /// program asks its kernel alone, and an emulator asks for it by a library that can be told.
    pub fn at(&self, time: &str) -> Sitewatch {
        let (program, cpu) = self.emulated();
        let program = program.strip_suffix("-static").unwrap();
        let words = [OsStr::new("-cpu"), OsStr::new(cpu), self.file.as_os_str()];
        let call = Sitewatch::program(program).args(words).env("FAKETIME", format!("@{time}"));
        let library = format!("/usr/lib/{ARCH}-linux-gnu/faketime/libfaketimeMT.so.1");
        call.env("LD_PRELOAD", library).env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    /// The emulator and the processor for it.
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
