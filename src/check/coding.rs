//! Decodes the content codings (`Content-Encoding`) of a body while the body arrives. libcurl's decoder is
//! not used, for three reasons: it calls bytes after a compressed stream an error of our own, it takes a
//! stream that was cut for a whole one, and it blames the site for every coding that libcurl does not know.

use std::ops::ControlFlow;

use flate2::{Decompress, FlushDecompress, Status};

use super::stop_reason::StopReason;

/// Most codings of one body, one inside the other.
const LAYERS_MAX: usize = 5;

/// Codings that are not decoded here. Any other unknown word is taken for a mistake in the site's header, and
/// the body is read as it is; browsers do the same.
const FOREIGN: [&str; 6] = ["br", "zstd", "compress", "x-compress", "dcb", "dcz"];

/// First bytes of each member of a gzip file: two bytes of magic, and 8 for the method deflate.
const GZIP_MAGIC: [u8; 3] = [0x1F, 0x8B, 8];

/// Most decoded bytes that are handed on at once.
const PIECE_BYTES: usize = 8 * 1024;

/// Receiver of decoded bytes.
type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> ControlFlow<StopReason>;

/// Decoder of one body.
#[derive(Debug)]
pub struct Decoder {
    /// Codings of the body, the outermost first.
    layers: Vec<Layer>,
}

impl Decoder {
    /// Makes the decoder of a body. `codings` has the values of `Content-Encoding`, with commas between them.
    /// `asked` is the `Accept-Encoding` that the user has configured: a coding that is named there and cannot
    /// be decoded here is left as it is. Each layer reads at most `limit_bytes`.
    ///
    /// # Errors
    /// The body cannot be decoded: returns the reason as a text for people.
    pub fn new(codings: &[u8], asked: &str, limit_bytes: u64) -> Result<Decoder, String> {
        let mut layers = Vec::new();
        for word in codings.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            if is("gzip") || is("x-gzip") || is("deflate") {
                if layers.len() == LAYERS_MAX {
                    return Err(format!("the body is compressed more than {LAYERS_MAX} times"));
                }
                let state = LayerState::Start { first: None };
                let (may_be_raw, left_bytes) = (is("deflate"), limit_bytes);
                layers.push(Layer { state, may_be_raw, left_bytes });
            } else if let Some(name) = FOREIGN.into_iter().find(|name| is(name)) {
                if asks_for(asked, name) {
                    break;
                }
                return Err(format!("the body is compressed as {name}, which was not requested"));
            }
        }
        Ok(Decoder { layers })
    }

    /// Decodes the next bytes of the body, and hands the decoded bytes to `sink`.
    pub fn feed(&mut self, bytes: &[u8], sink: Sink<'_>) -> ControlFlow<StopReason> {
        feed(&mut self.layers, bytes, sink)
    }

    /// Returns true if the last byte so far lies in the middle of a compressed stream.
    pub fn is_cut(&self) -> bool {
        self.layers.iter().any(|layer| match layer.state {
            LayerState::Start { first } => first.is_some(),
            LayerState::Inside { .. } => true,
            LayerState::Between { .. } | LayerState::Over => false,
        })
    }
}

fn feed(layers: &mut [Layer], bytes: &[u8], sink: Sink<'_>) -> ControlFlow<StopReason> {
    match layers.split_first_mut() {
        None => sink(bytes),
        Some((outer, inner)) => outer.feed(bytes, &mut |piece| feed(inner, piece, sink)),
    }
}

/// Returns true if an `Accept-Encoding` names the coding, or `*`.
fn asks_for(accepted: &str, name: &str) -> bool {
    let words = accepted.split(',').map(|word| word.split(';').next().unwrap_or_default().trim());
    words.into_iter().any(|word| word == "*" || word.eq_ignore_ascii_case(name))
}

/// One coding of a body.
#[derive(Debug)]
struct Layer {
    state: LayerState,
    /// Read a stream without a header as raw deflate, which some servers send as `deflate`.
    may_be_raw: bool,
    /// Encoded bytes that may still be read. The bound is needed because an endless stream can decode to
    /// nothing.
    left_bytes: u64,
}

#[derive(Debug)]
enum LayerState {
    /// The format is not known yet: it takes two bytes. `first` is the first of them, once that has arrived.
    Start { first: Option<u8> },
    /// In a compressed stream.
    Inside { stream: Decompress, is_gzip: bool },
    /// After a member of a gzip file. The last `matched` bytes were the first of [`GZIP_MAGIC`], so that
    /// another member may follow.
    Between { matched: usize },
    /// After the last stream. All further bytes, padding or garbage, are ignored.
    Over,
}

impl Layer {
    fn feed(&mut self, mut bytes: &[u8], sink: Sink<'_>) -> ControlFlow<StopReason> {
        let before = self.left_bytes;
        self.left_bytes = before.saturating_sub(bytes.len() as u64);
        if (bytes.len() as u64) > before {
            bytes = &bytes[..before as usize];
        }
        while let [first, rest @ ..] = bytes {
            match &mut self.state {
                LayerState::Start { first: None } => {
                    self.state = LayerState::Start { first: Some(*first) };
                    bytes = rest;
                }
                LayerState::Start { first: Some(before) } => {
                    let before = *before;
                    self.state = stream([before, *first], self.may_be_raw);
                    self.inflate(&[before], sink)?;
                }
                LayerState::Inside { .. } => bytes = self.inflate(bytes, sink)?,
                LayerState::Between { matched } if *first == GZIP_MAGIC[*matched] => {
                    *matched += 1;
                    bytes = rest;
                    if *matched == GZIP_MAGIC.len() {
                        self.state = stream([GZIP_MAGIC[0], GZIP_MAGIC[1]], false);
                        self.inflate(&GZIP_MAGIC, sink)?;
                    }
                }
                LayerState::Between { .. } => self.state = LayerState::Over,
                LayerState::Over => break,
            }
        }
        match self.left_bytes {
            0 => ControlFlow::Break(StopReason::Full),
            _ => ControlFlow::Continue(()),
        }
    }

    /// Decodes bytes of a stream. Returns the bytes after the end of the stream; none if the stream goes on.
    fn inflate<'a>(
        &mut self,
        mut bytes: &'a [u8],
        sink: Sink<'_>,
    ) -> ControlFlow<StopReason, &'a [u8]> {
        let LayerState::Inside { stream, is_gzip } = &mut self.state else {
            return ControlFlow::Continue(bytes);
        };
        let mut piece = [0; PIECE_BYTES];
        loop {
            let (read, made) = (stream.total_in(), stream.total_out());
            let status = match stream.decompress(bytes, &mut piece, FlushDecompress::None) {
                Ok(status) => status,
                Err(error) => {
                    let why = error.message().unwrap_or("it needs a dictionary");
                    let text = format!("cannot decode the body: {why}");
                    return ControlFlow::Break(StopReason::Undecodable(text));
                }
            };
            bytes = &bytes[(stream.total_in() - read) as usize..];
            let made = (stream.total_out() - made) as usize;
            if made > 0 {
                sink(&piece[..made])?;
            }
            if status == Status::StreamEnd {
                let is_gzip = *is_gzip;
                self.state =
                    if is_gzip { LayerState::Between { matched: 0 } } else { LayerState::Over };
                return ControlFlow::Continue(bytes);
            }
            // A full piece may mean that more decoded bytes wait.
            if made < piece.len() {
                return ControlFlow::Continue(bytes);
            }
        }
    }
}

/// Makes the state for the stream that begins with these two bytes. The bytes decide, not the name of the
/// coding: gzip (RFC 1952) and zlib (RFC 1950) have a header, raw deflate (RFC 1951) has none.
fn stream(head: [u8; 2], may_be_raw: bool) -> LayerState {
    let [method, flags] = head;
    let is_gzip = head == GZIP_MAGIC[..2];
    let is_zlib = method & 0x0F == 8 && u16::from_be_bytes([method, flags]) % 31 == 0;
    let stream = match (is_zlib, may_be_raw && !is_gzip) {
        (true, _) => Decompress::new(true),
        (false, true) => Decompress::new(false),
        // 15 stands for the largest window, 32 KiB.
        (false, false) => Decompress::new_gzip(15),
    };
    LayerState::Inside { stream, is_gzip }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `hello` in deflate: one block that is stored without compression, marked as the last.
    const RAW: [u8; 10] = [1, 5, 0, 0xFA, 0xFF, b'h', b'e', b'l', b'l', b'o'];

    fn gzip() -> Vec<u8> {
        let head = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
        [&head[..], &RAW, &0x3610_A686_u32.to_le_bytes(), &5_u32.to_le_bytes()].concat()
    }

    fn zlib() -> Vec<u8> {
        [&[0x78, 1][..], &RAW, &0x062C_0215_u32.to_be_bytes()].concat()
    }

    /// Decodes `bytes`, fed `step` at a time. Returns the text, and true if the stream was cut.
    fn decoded(codings: &str, bytes: &[u8], step: usize) -> Result<(String, bool), StopReason> {
        let mut decoder =
            Decoder::new(codings.as_bytes(), "identity", 1000).map_err(StopReason::Undecodable)?;
        let mut out = Vec::new();
        for piece in bytes.chunks(step) {
            let flow = decoder.feed(piece, &mut |piece| {
                out.extend_from_slice(piece);
                ControlFlow::Continue(())
            });
            if let ControlFlow::Break(stopped) = flow {
                return Err(stopped);
            }
        }
        Ok((String::from_utf8(out).unwrap(), decoder.is_cut()))
    }

    #[test]
    fn bytes_after_a_stream_are_ignored() {
        let member = gzip();
        let two = [member.clone(), member.clone()].concat();
        for (codings, bytes, want) in [
            ("gzip", member.clone(), "hello"),
            ("X-GZip", [&member[..], b"\n"].concat(), "hello"),
            ("gzip", [&member[..], &[0; 40]].concat(), "hello"),
            ("gzip", [&member[..], &GZIP_MAGIC[..2]].concat(), "hello"),
            ("gzip", [&member[..], b"\x1f\x8bx"].concat(), "hello"),
            ("gzip", [&two[..], b"garbage"].concat(), "hellohello"),
            ("gzip", zlib(), "hello"),
            ("deflate", member.clone(), "hello"),
            ("deflate", [&zlib()[..], b"more"].concat(), "hello"),
            ("deflate", [&RAW[..], b"more"].concat(), "hello"),
            ("deflate", Vec::new(), ""),
            ("utf-8", b"plain".to_vec(), "plain"),
            ("utf-8, gzip, , none", member.clone(), "hello"),
        ] {
            for step in 1..=bytes.len().max(1) {
                let got = decoded(codings, &bytes, step);
                assert_eq!(got, Ok((want.to_owned(), false)), "{codings} {bytes:?} by {step}");
            }
        }
    }

    #[test]
    fn a_stream_that_is_cut_is_reported() {
        let two = [gzip(), gzip()].concat();
        for at in 1..two.len() {
            let is_whole = matches!(at, 28..=30);
            let (_, is_cut) = decoded("gzip", &two[..at], 7).unwrap();
            assert_eq!(is_cut, !is_whole, "gzip at {at}");
        }
        for at in 1..zlib().len() {
            assert!(decoded("deflate", &zlib()[..at], 7).unwrap().1, "zlib at {at}");
        }
        for at in 1..RAW.len() {
            assert!(decoded("deflate", &RAW[..at], 7).unwrap().1, "deflate at {at}");
        }
    }

    #[test]
    fn a_body_that_cannot_be_decoded_has_a_reason() {
        let mut sum = gzip();
        sum[20] ^= 1;
        let broken = |codings: &str, bytes: &[u8]| match decoded(codings, bytes, 3) {
            Err(StopReason::Undecodable(why)) => why,
            other => panic!("{codings} {bytes:?}: {other:?}"),
        };
        assert_eq!(broken("gzip", b"plain"), "cannot decode the body: incorrect header check");
        assert_eq!(broken("gzip", &sum), "cannot decode the body: incorrect data check");
        assert_eq!(
            broken("deflate", b"\x78\xBBhello"),
            "cannot decode the body: it needs a dictionary"
        );
        for name in FOREIGN {
            let why = broken(&format!("gzip, {name}"), b"");
            assert_eq!(why, format!("the body is compressed as {name}, which was not requested"));
        }
        broken("gzip,gzip,gzip,gzip,gzip,gzip", b"");
        assert!(asks_for("gzip, BR;q=0.5", "br") && asks_for("*", "zstd"));
        assert!(!asks_for("brr", "br"));
    }

    #[test]
    fn layers_are_decoded_from_the_outermost_in() {
        // Another stored block, around the gzip file.
        let inner = gzip();
        let size = inner.len() as u16;
        let raw = [&[1][..], &size.to_le_bytes(), &(!size).to_le_bytes(), &inner].concat();
        assert_eq!(decoded("gzip, deflate", &raw, 4), Ok(("hello".to_owned(), false)));
        let end = inner.len() - 3;
        let size = end as u16;
        let cut = [&[1][..], &size.to_le_bytes(), &(!size).to_le_bytes(), &inner[..end]].concat();
        assert_eq!(decoded("gzip, deflate", &cut, 4), Ok(("hello".to_owned(), true)));
    }

    #[test]
    fn an_endless_stream_is_read_up_to_the_limit() {
        let endless = [&gzip()[..], &[0; 2000]].concat();
        assert_eq!(decoded("gzip", &endless, 500), Err(StopReason::Full));
        let empty = [0, 0, 0, 0xFF, 0xFF].repeat(300);
        assert_eq!(decoded("deflate", &empty, 500), Err(StopReason::Full));
    }
}
