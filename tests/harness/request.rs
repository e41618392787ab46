//! Reads the requests of a connection, one after the other. It is strict, so that errors of our
//! client are found: a request that httparse refuses gets no answer.

use std::io::{self, Read, Write};

/// The largest head, in bytes.
const HEAD_BYTES: usize = 256 * 1024;

/// The largest body, in bytes.
const BODY_BYTES: usize = 64 * 1024 * 1024;

/// The largest number of headers.
const HEADERS: usize = 256;

/// A request.
#[derive(Debug)]
pub struct Request {
    /// The method, such as `GET`.
    pub method: String,
    /// Path and query, as sent.
    pub path: String,
    /// Headers as sent, in order; invalid UTF-8 replaced.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Bytes that belong to no request yet.
#[derive(Default)]
pub struct Requests {
    bytes: Vec<u8>,
}

impl Requests {
    /// Reads the next request; `None` if the peer closed before it began. Obeys `Expect:
    /// 100-continue`.
    ///
    /// # Errors
    /// `InvalidData`: not a request, too large, or in chunks. `UnexpectedEof`: the request was cut.
    /// Others are the socket's.
    pub fn next<S: Read + Write>(&mut self, stream: &mut S) -> io::Result<Option<Request>> {
        let head_bytes = loop {
            if let Some(at) = find(&self.bytes, b"\r\n\r\n") {
                break at + 4;
            }
            if self.bytes.len() > HEAD_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let before = self.bytes.len();
            if !self.more(stream)? {
                if before == 0 {
                    return Ok(None);
                }
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let mut request = parse(&self.bytes[..head_bytes])?;
        self.bytes.drain(..head_bytes);
        let body_bytes = match header(&request.headers, "content-length") {
            Some(length) => length.parse().map_err(|_| io::ErrorKind::InvalidData)?,
            None => 0,
        };
        if body_bytes > BODY_BYTES || header(&request.headers, "transfer-encoding").is_some() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if header(&request.headers, "expect").is_some() && self.bytes.len() < body_bytes {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        while self.bytes.len() < body_bytes {
            if !self.more(stream)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        request.body = self.bytes.drain(..body_bytes).collect();
        Ok(Some(request))
    }

    /// Reads once. Returns false at the end.
    fn more(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        let mut piece = [0; 8192];
        let n = stream.read(&mut piece)?;
        self.bytes.extend_from_slice(&piece[..n]);
        Ok(n > 0)
    }
}

/// Returns the value of the first header of this name, in lower case.
pub fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

fn parse(head: &[u8]) -> io::Result<Request> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        _ => return Err(io::ErrorKind::InvalidData.into()),
    }
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok(Request {
        method: parsed.method.unwrap_or_default().into(),
        path: parsed.path.unwrap_or_default().into(),
        headers: parsed.headers.iter().map(|h| (h.name.into(), text(h.value))).collect(),
        body: Vec::new(),
    })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
