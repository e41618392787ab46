//! Compressed bodies: honest ones and bombs.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

/// Makes a gzip file that stores these bytes as they are: a test can cut it where it likes.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Makes a zlib stream that stores these bytes as they are.
pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Makes the same without header and checksum.
pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Makes a gzip file of less than a hundredth of `size` that unpacks to `size` bytes `A`.
pub fn bomb(size: u64) -> Vec<u8> {
    let block = [b'A'; 0x1_0000];
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let mut left = size;
    while left > 0 {
        let length = left.min(block.len() as u64);
        encoder.write_all(&block[..length as usize]).unwrap();
        left -= length;
    }
    encoder.finish().unwrap()
}
