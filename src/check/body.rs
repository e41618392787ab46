//! Takes the body of a reply as it arrives: decodes it, keeps its bounds, and stores it if the judge reads
//! it.

use std::ops::ControlFlow;

use super::budget::Permit;
use super::coding::Decoder;
use super::stop_reason::StopReason;

/// Least bound on the encoded bytes of a body, however few decoded bytes are wanted.
const ENCODED_BYTES: u64 = 64 * 1024;

/// Body, as far as it has arrived.
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
    /// Number of decoded bytes that were read, kept or not.
    count: u64,
    /// Room for the bytes that are kept.
    permit: Permit,
    max_bytes: usize,
    /// Keep the bytes: the judge reads them later.
    is_wanted: bool,
}

impl Body {
    /// Makes an empty body, of which at most `max_bytes` decoded bytes are read, and kept if `is_wanted`.
    pub fn new(max_bytes: usize, is_wanted: bool, permit: Permit) -> Body {
        let decoded = DecodedBytes { bytes: Vec::new(), count: 0, permit, max_bytes, is_wanted };
        Body { decoded, decoder: None }
    }

    /// Takes the next bytes of a body with this `Content-Encoding`; `asked` is the user's own
    /// `Accept-Encoding`.
    pub fn take(&mut self, data: &[u8], codings: &[u8], asked: &str) -> ControlFlow<StopReason> {
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => {
                // No compressor makes its input twice as long, unless the input is short.
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

    /// Returns the decoded bytes that are kept.
    pub fn bytes(&self) -> &[u8] {
        &self.decoded.bytes
    }

    /// Returns the number of decoded bytes that were read, kept or not.
    pub fn count(&self) -> u64 {
        self.decoded.count
    }

    /// Returns true if the body, were it to end here, would end in the middle of a compressed stream.
    pub fn is_cut(&self) -> bool {
        self.decoder.as_ref().is_some_and(Decoder::is_cut)
    }

    /// Takes the decoded bytes out, with the room that they take.
    pub fn take_bytes(&mut self) -> (Vec<u8>, Permit) {
        let (bytes, mut permit) = (std::mem::take(&mut self.decoded.bytes), self.take_permit());
        permit.shrink(bytes.len());
        (bytes, permit)
    }

    /// Takes the room out; none is left here.
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
            // In steps of 16 KiB, so that not every piece asks for room.
            let step = wanted.next_multiple_of(16 * 1024).min(self.max_bytes);
            if !self.permit.grow(step) && !self.permit.grow(wanted) {
                return ControlFlow::Break(StopReason::NoRoom);
            }
            self.bytes.extend_from_slice(taken);
        }
        self.count += taken.len() as u64;
        match self.count >= self.max_bytes as u64 {
            // The rest of the body does not matter.
            true => ControlFlow::Break(StopReason::Full),
            false => ControlFlow::Continue(()),
        }
    }
}
