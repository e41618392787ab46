//! An emulated program with another clock: QEMU's own debugging door (`-g`), by which every call
//! into the kernel is halted, and the answer to what time it is replaced. libfaketime cannot do
//! that to a static file, and `-strace` shows what was asked, not what became of the answer.
//!
//! Words of the protocol: `$TEXT#SUM` each way, `+` for well received; numbers in hexadecimal.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::wait::eventually;

/// How a processor calls its kernel.
pub struct Convention {
    /// The instruction that does, in each of its encodings.
    pub calls: &'static [&'static [u8]],
    /// Registers: the call's number, its first and its second argument; where it is in the program.
    pub registers: [u8; 4],
    /// `clock_gettime64`.
    pub clock64: u32,
    /// `clock_gettime`, `gettimeofday`, `time`: what ends in 2038.
    pub short: [u32; 3],
}

/// ARM's, in its own instructions and Thumb's.
pub const ARM: Convention = Convention {
    calls: &[&[0, 0, 0, 0xef], &[0, 0xdf]],
    registers: [7, 0, 1, 15],
    clock64: 403,
    short: [263, 78, 13],
};

/// That of MIPS with 32 bits, little-endian.
pub const MIPS: Convention = Convention {
    calls: &[&[0x0c, 0, 0, 0]],
    registers: [2, 4, 5, 37],
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
    let bias = door.ask("qOffsets");
    let bias = bias.strip_prefix("Text=").unwrap().split(';').next().unwrap();
    let bias = u64::from_str_radix(bias, 16).unwrap();
    for (address, bytes) in code {
        for at in calls(bytes, convention) {
            assert_eq!(door.ask(&format!("Z0,{:x},2", bias + address + at as u64)), "OK");
        }
    }
    let mut asked = Asked::default();
    // W or X: it has ended.
    while !door.ask("c").starts_with(['W', 'X']) {
        let [number, first, second, here] = convention.registers.map(|name| door.register(name));
        let is_clock = number == convention.clock64 && first == 0;
        asked.clock64 += usize::from(is_clock);
        asked.short += usize::from(
            convention.short.contains(&number) && (number != convention.short[0] || first == 0),
        );
        door.ask(&format!("z0,{here:x},2"));
        if door.ask("s").starts_with(['W', 'X']) {
            break;
        }
        if is_clock {
            let time: String = now_s.to_le_bytes().iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(door.ask(&format!("M{second:x},8:{time}")), "OK");
        }
        door.ask(&format!("Z0,{here:x},2"));
    }
    asked
}

/// Where instructions of these kinds may stand. What only looks like one is never run.
fn calls(bytes: &[u8], convention: &Convention) -> Vec<usize> {
    let is_call = |at: &usize| {
        let of = |call: &&[u8]| at.is_multiple_of(call.len()) && bytes[*at..].starts_with(call);
        convention.calls.iter().any(of)
    };
    (0..bytes.len()).step_by(2).filter(is_call).collect()
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

    /// A register of 32 bits, which comes with its lowest byte first.
    fn register(&mut self, name: u8) -> u32 {
        let text = self.ask(&format!("p{name:x}"));
        u32::from_str_radix(&text, 16).unwrap().swap_bytes()
    }
}
