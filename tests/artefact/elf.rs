//! What an artefact is as a file, read from its ELF header: for the right processor, without an
//! interpreter or a library, and with nothing in memory that can be written and run.

use std::path::Path;

use super::targets::each;
use crate::harness::Artefact;

/// Kinds of segments.
const DYNAMIC: u64 = 2;
const INTERPRETER: u64 = 3;
const STACK: u64 = 0x6474_e551;
const RELRO: u64 = 0x6474_e552;
/// A segment's rights.
const RUN: u64 = 1;
const WRITE: u64 = 2;
/// An entry of the dynamic section: a library it needs.
const NEEDED: u64 = 1;
/// The stack of a thread of C, as cross/recipe has it; musl's own choice is another.
const THREAD_STACK: u64 = 256 << 10;

/// Targets by their first word: bits, the processor's number, and flags that must be set (of ARM
/// the fifth ABI with floats in registers).
const MACHINES: [(&str, u64, u64, u64); 6] = [
    ("x86_64", 64, 62, 0),
    ("aarch64", 64, 183, 0),
    ("armv7", 32, 40, 0x0500_0400),
    ("arm", 32, 40, 0x0500_0400),
    ("riscv64gc", 64, 243, 0x4),
    ("mipsel", 32, 8, 0),
];

/// A file in little-endian ELF.
pub struct Elf {
    bytes: Vec<u8>,
    bits: u64,
}

/// A segment.
struct Segment {
    kind: u64,
    flags: u64,
    offset: u64,
    file_size: u64,
    memory_size: u64,
}

impl Elf {
    pub fn read(path: &Path) -> Elf {
        let bytes = std::fs::read(path).unwrap();
        assert_eq!((&bytes[..4], bytes[5]), (&b"\x7fELF"[..], 1), "not ELF, little-endian");
        let bits = u64::from(bytes[4]) * 32;
        Elf { bytes, bits }
    }

    /// A number of so many bytes.
    fn number(&self, at: u64, bytes: u64) -> u64 {
        let bytes = &self.bytes[at as usize..(at + bytes) as usize];
        bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// The number at the first place in a file of 32 bits, at the second in one of 64: an address
    /// or a size.
    fn wide(&self, base: u64, short: u64, long: u64) -> u64 {
        let (at, bytes) = if self.bits == 32 { (short, 4) } else { (long, 8) };
        self.number(base + at, bytes)
    }

    /// A narrow number likewise.
    fn narrow(&self, short: u64, long: u64, bytes: u64) -> u64 {
        self.number(if self.bits == 32 { short } else { long }, bytes)
    }

    fn machine(&self) -> u64 {
        self.number(18, 2)
    }

    fn flags(&self) -> u64 {
        self.narrow(36, 48, 4)
    }

    fn segments(&self) -> Vec<Segment> {
        let first = self.wide(0, 28, 32);
        let (size, count) = (self.narrow(42, 54, 2), self.narrow(44, 56, 2));
        let segment = |base| Segment {
            kind: self.number(base, 4),
            flags: self.number(base + if self.bits == 32 { 24 } else { 4 }, 4),
            offset: self.wide(base, 4, 8),
            file_size: self.wide(base, 16, 32),
            memory_size: self.wide(base, 20, 40),
        };
        (0..count).map(|i| segment(first + i * size)).collect()
    }

    /// How many libraries it needs.
    fn needed(&self) -> usize {
        let word = self.bits / 8;
        let entries = |segment: &Segment| {
            let range = segment.offset..segment.offset + segment.file_size;
            let tags: Vec<u64> =
                range.step_by(2 * word as usize).map(|at| self.number(at, word)).collect();
            tags.into_iter().filter(|tag| *tag == NEEDED).count()
        };
        self.segments().iter().filter(|segment| segment.kind == DYNAMIC).map(entries).sum()
    }

    fn of(&self, kind: u64) -> Option<Segment> {
        self.segments().into_iter().find(|segment| segment.kind == kind)
    }
}

#[test]
fn what_is_dynamic_is_seen() {
    let elf = Elf::read(Path::new(env!("CARGO_BIN_EXE_sitewatch")));
    assert!(elf.of(INTERPRETER).is_some() && elf.needed() > 0);
    assert!(elf.of(STACK).is_some_and(|stack| stack.flags & RUN == 0));
    assert!(elf.of(RELRO).is_some());
}

#[test]
#[ignore = "make test runs it over the artefacts"]
fn none_tells_where_it_was_built() {
    let home = std::env::var("HOME").unwrap();
    let tree = env!("CARGO_MANIFEST_DIR");
    // Else the same sources would give other bytes in another folder.
    let folders = [tree, &format!("{home}/.cargo"), &format!("{home}/.cache"), "cross/tools/"];
    each(|artefact: &Artefact| {
        let bytes = std::fs::read(artefact.file()).unwrap();
        for folder in folders {
            let found = bytes.windows(folder.len()).position(|at| at == folder.as_bytes());
            let text = found.map(|at| String::from_utf8_lossy(&bytes[at..at + 200]));
            assert!(text.is_none(), "{}: {text:?}", artefact.target());
        }
    });
}

/// What each may weigh, in bytes.
fn largest(target: &str) -> u64 {
    match target.split('-').next().unwrap() {
        "armv7" => 4_700_000,
        "aarch64" => 6_000_000,
        _ => 7_500_000,
    }
}

#[test]
#[ignore = "make test runs it over the artefacts"]
fn each_is_as_small_as_is_promised() {
    let readme = std::fs::read_to_string("cross/README.md").unwrap();
    each(|artefact: &Artefact| {
        let (target, size) = (artefact.target(), artefact.file().metadata().unwrap().len());
        assert!(size <= largest(target), "{target}: {size} bytes");
        // What cross/README.md tells of it was measured, if perhaps some commits ago.
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{target}` |"))).unwrap();
        let told = row.trim_end_matches(" |").rsplit(' ').next().unwrap().replace(',', "");
        let told: u64 = told.parse().unwrap();
        assert!(
            told.abs_diff(size) <= told / 50,
            "{target}: {size} bytes, cross/README.md: {told}"
        );
    });
}

#[test]
#[ignore = "make test runs it over the artefacts"]
fn each_is_static_and_runs_nothing_it_can_write() {
    each(|artefact: &Artefact| {
        let elf = Elf::read(artefact.file());
        let name = artefact.target().split('-').next().unwrap();
        let (_, bits, machine, flags) = MACHINES.iter().find(|machine| machine.0 == name).unwrap();
        assert_eq!((elf.bits, elf.machine()), (*bits, *machine));
        assert_eq!(elf.flags() & flags, *flags, "{:x}", elf.flags());
        assert!(elf.of(INTERPRETER).is_none(), "it has an interpreter");
        assert_eq!(elf.needed(), 0, "it needs libraries");
        let stack = elf.of(STACK).unwrap();
        assert_eq!(stack.flags & RUN, 0, "its stack can be run");
        assert_eq!(stack.memory_size, THREAD_STACK, "{}", artefact.target());
        assert!(elf.of(RELRO).is_some_and(|relro| relro.memory_size > 0), "no RELRO");
        for segment in elf.segments() {
            let both = WRITE | RUN;
            assert_ne!(segment.flags & both, both, "a segment of kind {:x}", segment.kind);
        }
    });
}
