//! gzip and deflate made by hand: just enough to send compressed bodies, honest ones and bombs, without a
//! compressor among our dependencies.

/// The longest run of bytes that one deflate symbol can stand for.
const RUN: u64 = 258;

/// A gzip file with these bytes, stored as they are.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut file = [&HEADER[..], &deflate(bytes)].concat();
    let mut sum = Sum::new();
    sum.add(bytes);
    file.extend(sum.end().to_le_bytes());
    file.extend((bytes.len() as u32).to_le_bytes());
    file
}

/// A zlib stream with these bytes, stored as they are.
pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut stream = [&[0x78, 1][..], &deflate(bytes)].concat();
    // Adler-32.
    let (mut low, mut high) = (1_u32, 0_u32);
    for byte in bytes {
        low = (low + u32::from(*byte)) % 65521;
        high = (high + low) % 65521;
    }
    stream.extend((high << 16 | low).to_be_bytes());
    stream
}

/// The same without header and sum.
pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut blocks = bytes.chunks(0xFFFF).peekable();
    if blocks.peek().is_none() {
        file.extend([1, 0, 0, 0xFF, 0xFF]);
    }
    while let Some(block) = blocks.next() {
        let size = u16::try_from(block.len()).unwrap();
        file.push(u8::from(blocks.peek().is_none()));
        file.extend(size.to_le_bytes());
        file.extend((!size).to_le_bytes());
        file.extend(block);
    }
    file
}

/// A gzip file that unpacks to at least `size` bytes `A` and less than 258 more, at 13 bits for
/// 258 bytes: 100 MB in 630 kB.
pub fn bomb(size: u64) -> Vec<u8> {
    let runs = size.div_ceil(RUN);
    let mut bits = Bits { bytes: HEADER.to_vec(), pending: 0, count: 0 };
    // One block, the last, with the fixed codes.
    bits.put(0b011, 3);
    // The literal 'A' is 0x30 + 'A' in 8 bits, most significant bit first.
    bits.put(reversed(0x30 + u32::from(b'A'), 8), 8);
    for _ in 0..runs {
        // Length 258 is symbol 285, 0b1100_0101; then distance 1, symbol 0 in 5 bits.
        bits.put(reversed(0b1100_0101, 8), 8);
        bits.put(0, 5);
    }
    // End of block: symbol 256, 7 bits of 0.
    bits.put(0, 7);
    let mut file = bits.end();

    let mut left = runs * RUN + 1;
    let size = left as u32;
    let mut sum = Sum::new();
    let block = [b'A'; 0x1_0000];
    while left > 0 {
        let n = left.min(block.len() as u64);
        sum.add(&block[..n as usize]);
        left -= n;
    }
    file.extend(sum.end().to_le_bytes());
    file.extend(size.to_le_bytes());
    file
}

/// gzip's first ten bytes: deflate, no name, no time, unknown system.
const HEADER: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];

/// Bits, the least significant first.
struct Bits {
    bytes: Vec<u8>,
    pending: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, bits: u32, count: u32) {
        self.pending |= bits << self.count;
        self.count += count;
        while self.count >= 8 {
            self.bytes.push(self.pending as u8);
            self.pending >>= 8;
            self.count -= 8;
        }
    }

    fn end(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.bytes.push(self.pending as u8);
        }
        self.bytes
    }
}

fn reversed(bits: u32, count: u32) -> u32 {
    bits.reverse_bits() >> (32 - count)
}

/// CRC-32 as gzip has it: polynomial 0xEDB88320, reflected, begun and ended inverted.
struct Sum {
    state: u32,
}

impl Sum {
    fn new() -> Sum {
        Sum { state: !0 }
    }

    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let index = (self.state ^ u32::from(byte)) & 0xFF;
            self.state = (self.state >> 8) ^ TABLE[index as usize];
        }
    }

    fn end(self) -> u32 {
        !self.state
    }
}

static TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = (value >> 1) ^ (0xEDB8_8320 & (value & 1).wrapping_neg());
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};
