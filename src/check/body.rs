//! Takes the body of a reply as it arrives: decodes the bytes, checks their bounds, and stores them if the
//! judge needs them.

use std::ops::ControlFlow;

use super::budget::Permit;
use super::coding::Decoder;
use super::stop_reason::StopReason;

/// Lowest bound on the encoded bytes of a body: so many may be read even if `max_body` is smaller.
const ENCODED_BYTES: u64 = 64 * 1024;

/// The part of a body that has arrived.
#[derive(Debug)]
pub struct Body {
    decoded: DecodedBytes,
    /// None until the first byte has come.
    decoder: Option<Decoder>,
}

/// Decoded bytes and their bounds.
#[derive(Debug)]
struct DecodedBytes {
    bytes: Vec<u8>,
    /// Number of decoded bytes that were read, stored or not.
    count: u64,
    /// Permit for the bytes that are stored.
    permit: Permit,
    max_bytes: usize,
    /// Store the bytes for the judge.
    is_wanted: bool,
}

impl Body {
    /// Makes an empty body. Reads at most `max_bytes` decoded bytes, and stores them if `is_wanted`.
    pub fn new(max_bytes: usize, is_wanted: bool, permit: Permit) -> Body {
        let decoded = DecodedBytes { bytes: Vec::new(), count: 0, permit, max_bytes, is_wanted };
        Body { decoded, decoder: None }
    }

    /// Takes the next bytes of the body. `codings` is the reply's `Content-Encoding`, `asked` the
    /// `Accept-Encoding` that the user has configured; empty if none.
    pub fn take(&mut self, data: &[u8], codings: &[u8], asked: &str) -> ControlFlow<StopReason> {
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => {
                // Compressed bytes are never twice as many as the decoded ones, unless those are few.
                let limit = (self.decoded.max_bytes as u64).saturating_mul(2).max(ENCODED_BYTES);
                match Decoder::new(codings, asked, limit) {
                    Ok(decoder) => none.insert(decoder),
                    Err(why) => return ControlFlow::Break(StopReason::Undecodable(why)),
                }
            }
        };
        let decoded = &mut self.decoded;
        decoder.feed(data, &mut |piece| decoded.take(piece))
    }

    /// Returns the decoded bytes that are stored.
    pub fn bytes(&self) -> &[u8] {
        &self.decoded.bytes
    }

    /// Returns the number of decoded bytes that were read, stored or not.
    pub fn count(&self) -> u64 {
        self.decoded.count
    }

    /// Returns true if the last byte so far lies in the middle of a compressed stream.
    pub fn is_cut(&self) -> bool {
        self.decoder.as_ref().is_some_and(Decoder::is_cut)
    }

    /// Takes the decoded bytes out, with their permit.
    pub fn take_bytes(&mut self) -> (Vec<u8>, Permit) {
        let (bytes, mut permit) = (std::mem::take(&mut self.decoded.bytes), self.take_permit());
        permit.shrink(bytes.len());
        (bytes, permit)
    }

    /// Takes the permit out, and leaves one of 0 bytes.
    pub fn take_permit(&mut self) -> Permit {
        let none = self.decoded.permit.none();
        std::mem::replace(&mut self.decoded.permit, none)
    }
}

impl DecodedBytes {
    fn take(&mut self, bytes: &[u8]) -> ControlFlow<StopReason> {
        let left = self.max_bytes - (self.count as usize).min(self.max_bytes);
        let taken = &bytes[..bytes.len().min(left)];
        if self.is_wanted && !taken.is_empty() {
            let wanted = self.bytes.len() + taken.len();
            // Grow in steps of 16 KiB, so that not every piece has to ask the budget.
            let step = wanted.next_multiple_of(16 * 1024).min(self.max_bytes);
            if !self.permit.grow(step) && !self.permit.grow(wanted) {
                return ControlFlow::Break(StopReason::NoRoom);
            }
            self.bytes.extend_from_slice(taken);
        }
        self.count += taken.len() as u64;
        match self.count >= self.max_bytes as u64 {
            // The rest of the body is not needed.
            true => ControlFlow::Break(StopReason::Full),
            false => ControlFlow::Continue(()),
        }
    }
}
