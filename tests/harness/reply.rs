//! Plays the part of a script that follows a request, byte by byte.

use std::io::{self, Write};

use super::script::{Afterwards, Body, Cut, Framing, Head, Padding, Pieces, Script};
use super::wire::Stop;

/// Bytes of a body that are written at once by default.
const PIECE: usize = 64 * 1024;

/// The lines of `many_headers`: 100 bytes each, line end included.
const PADDING_LINE: usize = 100;

/// Writes the reply to request number `serial`. Returns true if all of it was written, false if the
/// script cut it.
///
/// # Errors
/// The peer has left, or the listener stops.
pub fn play(
    script: &Script,
    method: &str,
    serial: u64,
    to: &mut dyn Write,
    stop: &Stop,
) -> io::Result<bool> {
    if matches!(script.cut, Some(Cut::Request)) {
        return Ok(false);
    }
    stop.pause(script.first_byte_delay)?;
    interim(script, to)?;
    let content = Content::of(script, serial);
    if !head(script, serial, &content, to, stop)? {
        return Ok(false);
    }
    if method == "HEAD" {
        return Ok(true);
    }
    stop.pause(script.body_delay)?;
    body(script, &content, to, stop)
}

/// Sends bytes that no request asked for, if the script has such. Returns true if it closes the
/// connection then.
///
/// # Errors
/// The peer has left, or the listener stops.
pub fn say_unasked(script: &Script, to: &mut dyn Write, stop: &Stop) -> io::Result<bool> {
    let Some(Afterwards { delay, bytes, closes }) = &script.afterwards else { return Ok(false) };
    stop.pause(*delay)?;
    to.write_all(bytes)?;
    to.flush()?;
    Ok(*closes)
}

fn interim(script: &Script, to: &mut dyn Write) -> io::Result<()> {
    let (status, count) = script.interim;
    let reply = format!("HTTP/1.1 {status} Interim\r\nX-Interim: yes\r\n\r\n");
    for _ in 0..count {
        to.write_all(reply.as_bytes())?;
    }
    Ok(())
}

/// Writes the head. Returns false if it was cut.
fn head(
    script: &Script,
    serial: u64,
    content: &Content<'_>,
    to: &mut dyn Write,
    stop: &Stop,
) -> io::Result<bool> {
    let mut bytes = match &script.head {
        Head::Raw(bytes) => bytes.clone(),
        Head::Made { status, reason, headers, onward } => {
            let mut bytes = format!("HTTP/1.1 {status} {reason}\r\n").into_bytes();
            let connection = if script.keep_alive { "keep-alive" } else { "close" };
            write!(bytes, "Connection: {connection}\r\n")?;
            if *onward {
                write!(bytes, "Location: /hop/{serial}\r\n")?;
            }
            for (name, value) in headers {
                bytes.extend_from_slice(name);
                bytes.extend_from_slice(b": ");
                bytes.extend_from_slice(value);
                bytes.extend_from_slice(b"\r\n");
            }
            let bodiless = matches!(status, 100..200 | 204 | 304) && content.size == 0;
            match script.framing {
                Framing::Announced(size) => write!(bytes, "Content-Length: {size}\r\n")?,
                Framing::Length if !bodiless => {
                    write!(bytes, "Content-Length: {}\r\n", content.size)?;
                }
                Framing::Chunked => bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
                Framing::Length | Framing::Close => {}
            }
            bytes
        }
    };
    let made = matches!(script.head, Head::Made { .. });
    let padded = made && !matches!(script.padding, Padding::None);
    if made && !padded {
        bytes.extend_from_slice(b"\r\n");
    }
    let cut = match script.cut {
        Some(Cut::Head(at)) => {
            bytes.truncate(at);
            true
        }
        _ => false,
    };
    match script.head_pieces {
        None => to.write_all(&bytes)?,
        Some(Pieces { bytes: size, delay }) => {
            for (index, piece) in bytes.chunks(size).enumerate() {
                if index > 0 {
                    stop.pause(delay)?;
                }
                to.write_all(piece)?;
            }
        }
    }
    if padded && !cut {
        pad(script.padding, to)?;
        to.write_all(b"\r\n")?;
    }
    Ok(!cut)
}

/// Writes whole header lines without meaning.
fn pad(padding: Padding, to: &mut dyn Write) -> io::Result<()> {
    match padding {
        Padding::None => {}
        Padding::Line(size) => {
            let mut left = size;
            let piece = [b'x'; PIECE];
            to.write_all(b"X-Huge: ")?;
            while left > 0 {
                let n = left.min(PIECE as u64);
                to.write_all(&piece[..n as usize])?;
                left -= n;
            }
            to.write_all(b"\r\n")?;
        }
        Padding::Lines(count) => {
            let mut line = b"X-Many: ".to_vec();
            line.resize(PADDING_LINE - 2, b'x');
            line.extend_from_slice(b"\r\n");
            for _ in 0..count {
                to.write_all(&line)?;
            }
        }
    }
    Ok(())
}

/// Writes the body. Returns false if it was cut.
fn body(
    script: &Script,
    content: &Content<'_>,
    to: &mut dyn Write,
    stop: &Stop,
) -> io::Result<bool> {
    let cut = match script.cut {
        Some(Cut::Body(at)) => Some(at),
        _ => None,
    };
    let pieces = script.body_pieces.unwrap_or(Pieces { bytes: PIECE, delay: Default::default() });
    let chunked = matches!(script.framing, Framing::Chunked);
    let mut piece = vec![0; pieces.bytes];
    let mut at = 0;
    while at < content.size {
        let left = cut.map_or(u64::MAX, |cut| cut - at);
        if left == 0 {
            return Ok(false);
        }
        if at > 0 {
            stop.pause(pieces.delay)?;
        }
        let size = (content.size - at).min(pieces.bytes as u64) as usize;
        let sent = left.min(size as u64) as usize;
        content.fill(at, &mut piece[..sent]);
        if chunked {
            write!(to, "{size:X}\r\n")?;
        }
        to.write_all(&piece[..sent])?;
        if sent < size {
            return Ok(false);
        }
        if chunked {
            to.write_all(b"\r\n")?;
        }
        at += size as u64;
    }
    if cut.is_some() {
        return Ok(false);
    }
    if chunked {
        to.write_all(b"0\r\n\r\n")?;
    }
    Ok(true)
}

/// A body as bytes by offset, without holding all of them.
struct Content<'a> {
    start: String,
    rest: &'a Body,
    size: u64,
}

impl Content<'_> {
    fn of(script: &Script, serial: u64) -> Content<'_> {
        let start = if script.serial { format!("serial={serial}\n") } else { String::new() };
        let rest = match &script.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Made(size) => *size,
        };
        let size = rest.saturating_add(start.len() as u64);
        Content { start, rest: &script.body, size }
    }

    /// Returns bytes from offset `at`, as many as fit; they must exist.
    fn fill(&self, at: u64, mut into: &mut [u8]) {
        let start = self.start.as_bytes();
        let mut at = at;
        if at < start.len() as u64 {
            let from = &start[at as usize..];
            let n = from.len().min(into.len());
            into[..n].copy_from_slice(&from[..n]);
            into = &mut into[n..];
            at += n as u64;
        }
        if into.is_empty() {
            return;
        }
        at -= start.len() as u64;
        match self.rest {
            Body::Bytes(bytes) => into.copy_from_slice(&bytes[at as usize..][..into.len()]),
            Body::Made(_) => {
                for (index, byte) in into.iter_mut().enumerate() {
                    *byte = b'a' + ((at + index as u64) % 26) as u8;
                }
            }
        }
    }
}

/// Returns the usual reason phrase of a status that tests use.
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        103 => "Early Hints",
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}
