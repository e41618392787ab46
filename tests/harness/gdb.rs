//! An emulated program with another clock: QEMU's own debugging door (`-g`), by which every call
//! into the kernel is halted, and the answer to what time it is replaced. libfaketime cannot do
//! that to a static file, and `-strace` shows what was asked, not what became of the answer.
//!
//! Words of the protocol: `$TEXT#SUM` each way, `+` for well received; numbers in hexadecimal.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::wait::eventually;

/// No call has a larger number: what halted there is another instruction.
const CALL_MAX: u32 = 1 << 20;

/// How a processor calls its kernel.
pub struct Convention {
    /// The instruction that does, in each of its encodings.
    pub calls: &'static [&'static [u8]],
    /// Registers: the call's number, its first and its second argument; where it is in the program.
    pub registers: [usize; 4],
    /// Registers that are 0 after a call that went well.
    pub cleared: &'static [usize],
    /// `clock_gettime64`.
    pub clock64: u32,
    /// `clock_gettime`, `gettimeofday`, `time`: what ends in 2038.
    pub short: [u32; 3],
}

/// ARM's, in its own instructions and Thumb's.
pub const ARM: Convention = Convention {
    calls: &[&[0, 0, 0, 0xef], &[0, 0xdf]],
    registers: [7, 0, 1, 15],
    cleared: &[0],
    clock64: 403,
    short: [263, 78, 13],
};

/// That of MIPS with 32 bits, little-endian.
pub const MIPS: Convention = Convention {
    calls: &[&[0x0c, 0, 0, 0]],
    registers: [2, 4, 5, 37],
    cleared: &[2, 7],
    clock64: 4403,
    short: [4263, 4078, 4013],
};

/// What the program has asked of the clock.
#[derive(Debug, Default)]
pub struct Asked {
    /// How often by the call with 64 bits.
    pub clock64: usize,
    /// How often by one with 32.
    pub short: usize,
}

/// Runs the program behind the socket to its end. `code` is where its instructions stand: address
/// and bytes. Whenever it asks for the wall clock it is told `now_s`, seconds since 1970.
#[track_caller]
pub fn run_at(
    socket: &Path,
    deadline: Duration,
    convention: &Convention,
    code: &[(u64, &[u8])],
    now_s: i64,
) -> Asked {
    let stream = eventually(deadline, "QEMU listening", || UnixStream::connect(socket).ok());
    stream.set_read_timeout(Some(deadline)).unwrap();
    let mut door = Door(stream);
    let mut sizes = HashMap::new();
    for (address, bytes) in code {
        for (at, size) in calls(bytes, convention) {
            let address = u32::try_from(*address).unwrap() + at;
            assert_eq!(door.ask(&format!("Z0,{address:x},2")), "OK");
            sizes.insert(address, size);
        }
    }
    let (mut asked, start) = (Asked::default(), Instant::now());
    let mut onward = "c".to_owned();
    loop {
        let why = door.ask(&onward);
        // W or X: it has ended. Else a signal's number follows; 5 is ours, all others the program's.
        match why.split_at(1) {
            ("W" | "X", _) => return asked,
            (_, signal) if signal.starts_with("05") => "c".clone_into(&mut onward),
            (_, signal) => {
                onward = format!("C{}", &signal[..2]);
                continue;
            }
        }
        assert!(start.elapsed() < deadline, "not at its end within {deadline:?}: {asked:?}");
        let mut all = door.registers();
        let [number, first, second, here] = convention.registers.map(|name| all[name]);
        let is_clock = first == 0;
        if number == convention.clock64 && is_clock {
            // Answered in the kernel's place, and on behind the call.
            asked.clock64 += 1;
            let time: String = now_s.to_le_bytes().iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(door.ask(&format!("M{second:x},8:{time}")), "OK");
            assert_eq!(door.ask(&format!("M{:x},8:{:016x}", second + 8, 0)), "OK");
            convention.cleared.iter().for_each(|name| all[*name] = 0);
            all[convention.registers[3]] = here + sizes[&here];
            door.set_registers(&all);
            continue;
        }
        let [short, others @ ..] = convention.short;
        asked.short += usize::from(number == short && is_clock || others.contains(&number));
        if number > CALL_MAX {
            door.ask(&format!("z0,{here:x},2"));
        } else if door.ask("s").starts_with(['W', 'X']) {
            // The step has gone on where the breakpoint had halted it.
            return asked;
        }
    }
}

/// Where instructions of these kinds may stand, and their size. Some only look like one.
fn calls(bytes: &[u8], convention: &Convention) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    for at in (0..bytes.len()).step_by(2) {
        let is = |call: &&&[u8]| at.is_multiple_of(call.len()) && bytes[at..].starts_with(call);
        if let Some(call) = convention.calls.iter().find(is) {
            found.push((at as u32, call.len() as u32));
        }
    }
    found
}

/// The door, with the program halted.
struct Door(UnixStream);

impl Door {
    #[track_caller]
    fn ask(&mut self, text: &str) -> String {
        let sum = text.bytes().fold(0_u8, u8::wrapping_add);
        write!(self.0, "${text}#{sum:02x}").unwrap();
        let mut reply = String::new();
        while self.byte() != b'$' {}
        loop {
            match self.byte() {
                b'#' => break,
                byte => reply.push(char::from(byte)),
            }
        }
        let _ = (self.byte(), self.byte());
        // A program that has ended takes no thanks.
        let _ = self.0.write_all(b"+");
        reply
    }

    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.0.read_exact(&mut byte).unwrap();
        byte[0]
    }

    /// Registers of 32 bits, which come with their lowest bytes first.
    #[track_caller]
    fn registers(&mut self) -> Vec<u32> {
        let text = self.ask("g");
        // Unknown ones, which none of ours is among, are not numbers.
        let number = |at| u32::from_str_radix(&text[at..at + 8], 16).unwrap_or_default();
        (0..text.len() / 8).map(|name| number(name * 8).swap_bytes()).collect()
    }

    #[track_caller]
    fn set_registers(&mut self, all: &[u32]) {
        let text: String = all.iter().map(|value| format!("{:08x}", value.swap_bytes())).collect();
        assert_eq!(self.ask(&format!("G{text}")), "OK");
    }
}
