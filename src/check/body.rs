//! The body of a reply as it arrives: decoded, within its bounds, and kept if somebody reads it.

use std::ops::ControlFlow;

use super::coding::Decoder;
use super::room::Held;
use super::stopped::Stopped;

/// Encoded bytes that are read at least, however little is wanted decoded.
const ENCODED_BYTES: u64 = 64 * 1024;

/// What has arrived of a body.
#[derive(Debug)]
pub struct Body {
    kept: Kept,
    /// None until the first byte has come.
    decoder: Option<Decoder>,
}

/// Decoded bytes and their bounds.
#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    /// How many were read, kept or not.
    count: u64,
    /// Room for those that are kept.
    held: Held,
    max_bytes: usize,
    /// Somebody reads them later.
    is_wanted: bool,
}

impl Body {
    /// An empty one, of which at most `max_bytes` are read, decoded. `is_wanted`: they are kept.
    pub fn new(max_bytes: usize, is_wanted: bool, held: Held) -> Body {
        let kept = Kept { bytes: Vec::new(), count: 0, held, max_bytes, is_wanted };
        Body { kept, decoder: None }
    }

    /// Takes the next bytes of a body with this `Content-Encoding`; `asked` is the user's own
    /// `Accept-Encoding`.
    pub fn take(&mut self, data: &[u8], codings: &[u8], asked: &str) -> ControlFlow<Stopped> {
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => {
                // No compressor makes twice as many bytes of those that it is given, unless they
                // are few.
                let limit = (self.kept.max_bytes as u64).saturating_mul(2).max(ENCODED_BYTES);
                match Decoder::new(codings, asked, limit) {
                    Ok(decoder) => none.insert(decoder),
                    Err(why) => return ControlFlow::Break(Stopped::Undecodable(why)),
                }
            }
        };
        let kept = &mut self.kept;
        decoder.feed(data, &mut |piece| kept.take(piece))
    }

    /// The decoded bytes, as far as they are kept.
    pub fn bytes(&self) -> &[u8] {
        &self.kept.bytes
    }

    /// How many decoded bytes were read, kept or not.
    pub fn count(&self) -> u64 {
        self.kept.count
    }

    /// Whether it ends, if it ends here, in the middle of a compressed stream.
    pub fn is_cut(&self) -> bool {
        self.decoder.as_ref().is_some_and(Decoder::is_cut)
    }

    /// Gives away the decoded bytes, and the room that they take.
    pub fn take_bytes(&mut self) -> (Vec<u8>, Held) {
        let (bytes, mut held) = (std::mem::take(&mut self.kept.bytes), self.take_held());
        held.shrink(bytes.len());
        (bytes, held)
    }

    /// Lets go of the room.
    pub fn take_held(&mut self) -> Held {
        let none = self.kept.held.none();
        std::mem::replace(&mut self.kept.held, none)
    }
}

impl Kept {
    fn take(&mut self, bytes: &[u8]) -> ControlFlow<Stopped> {
        let left = self.max_bytes - (self.count as usize).min(self.max_bytes);
        let taken = &bytes[..bytes.len().min(left)];
        if self.is_wanted && !taken.is_empty() {
            let wanted = self.bytes.len() + taken.len();
            // In steps, so that the room is not asked for each piece.
            let step = wanted.next_multiple_of(16 * 1024).min(self.max_bytes);
            if !self.held.grow(step) && !self.held.grow(wanted) {
                return ControlFlow::Break(Stopped::NoRoom);
            }
            self.bytes.extend_from_slice(taken);
        }
        self.count += taken.len() as u64;
        match self.count >= self.max_bytes as u64 {
            // What else may come, or never come, is no concern of ours.
            true => ControlFlow::Break(Stopped::Full),
            false => ControlFlow::Continue(()),
        }
    }
}
