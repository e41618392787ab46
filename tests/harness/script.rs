//! What a listener is to reply: a value, put together in one line, without any I/O.
//!
//! A script has two halves. The opening is what happens before a request is read, so it belongs
//! to the listener as a whole (`Listener::always`). The rest is played for each request, in this
//! order: first delay, interim replies, head, delay, body, end. A cut ends it early; `reset` and
//! `hang` say how an end or cut is made.

use std::time::Duration;

use super::deflate;
use super::reply::reason;

/// One reply, as it is to happen. Ends with `Connection: close` unless told.
#[derive(Debug, Clone, Default)]
pub struct Script {
    pub(super) opening: Opening,
    pub(super) first_byte_delay: Duration,
    pub(super) interim: (u16, u64),
    pub(super) head: Head,
    pub(super) padding: Padding,
    pub(super) head_pieces: Option<Pieces>,
    pub(super) body_delay: Duration,
    pub(super) body: Body,
    pub(super) framing: Framing,
    pub(super) body_pieces: Option<Pieces>,
    pub(super) serial: bool,
    pub(super) keep_alive: bool,
    pub(super) cut: Option<Cut>,
    pub(super) afterwards: Option<Afterwards>,
    pub(super) end: End,
}

/// What is said after a reply that nobody has asked for.
#[derive(Debug, Clone)]
pub(super) struct Afterwards {
    pub delay: Duration,
    pub bytes: Vec<u8>,
    pub closes: bool,
}

/// What happens to a connection before anything is read from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Opening {
    pub delay: Duration,
    pub act: Act,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Act {
    #[default]
    Serve,
    Close,
    Reset,
    CutHandshake(usize),
    Alert(u8),
    Plain,
}

#[derive(Debug, Clone)]
pub(super) enum Head {
    Made { status: u16, reason: String, headers: Vec<(Vec<u8>, Vec<u8>)>, onward: bool },
    Raw(Vec<u8>),
}

impl Default for Head {
    fn default() -> Head {
        Head::Made { status: 200, reason: String::new(), headers: Vec::new(), onward: false }
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Padding {
    #[default]
    None,
    Line(u64),
    Lines(u64),
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    Bytes(Vec<u8>),
    /// The alphabet over and over.
    Made(u64),
}

impl Default for Body {
    fn default() -> Body {
        Body::Bytes(Vec::new())
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Framing {
    #[default]
    Length,
    Announced(u64),
    Chunked,
    Close,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Pieces {
    pub bytes: usize,
    pub delay: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Cut {
    Request,
    Head(usize),
    Body(u64),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum End {
    #[default]
    Close,
    WithoutNotify,
    Reset,
    Hang,
}

impl Script {
    /// 200 with this body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Script {
        Script::status(200).body(body)
    }

    /// This status, without a body.
    pub fn status(status: u16) -> Script {
        let head = Head::Made {
            status,
            reason: reason(status).into(),
            headers: Vec::new(),
            onward: false,
        };
        Script { head, ..Script::default() }
    }

    /// A redirect to any place: absolute, relative, of another scheme, not a URL at all. For one
    /// that names no place take `status(302)`.
    pub fn redirect(status: u16, location: impl Into<Vec<u8>>) -> Script {
        Script::status(status).header("Location", location)
    }

    /// A redirect to `/hop/SERIAL`, another place each time: with `always` it never ends.
    pub fn redirect_onward(status: u16) -> Script {
        let mut script = Script::status(status);
        if let Head::Made { onward, .. } = &mut script.head {
            *onward = true;
        }
        script
    }

    /// These bytes in place of a head, and nothing after them unless a body is set: garbage,
    /// HTTP/0.9, heads that no builder would make.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Script {
        Script { head: Head::Raw(bytes.into()), framing: Framing::Close, ..Script::default() }
    }

    /// Reads requests and never answers.
    pub fn silence() -> Script {
        Script::default().cut_at_request().hang()
    }

    /// 200 with a gzip body that unpacks to `size` bytes `A`.
    pub fn gzip_bomb(size: u64) -> Script {
        Script::ok(deflate::bomb(size)).header("Content-Encoding", "gzip")
    }

    /// The words after the status.
    pub fn reason(mut self, words: &str) -> Script {
        if let Head::Made { reason, .. } = &mut self.head {
            *reason = words.into();
        }
        self
    }

    /// One more header, sent as it is, any bytes. `Content-Length`, `Transfer-Encoding` and
    /// `Connection` come on top of those that are made.
    pub fn header(mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Script {
        if let Head::Made { headers, .. } = &mut self.head {
            headers.push((name.into(), value.into()));
        }
        self
    }

    /// The body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Script {
        self.body = Body::Bytes(body.into());
        self
    }

    /// A body of so many bytes, the alphabet over and over, made while it is sent.
    pub fn body_of(mut self, bytes: u64) -> Script {
        self.body = Body::Made(bytes);
        self
    }

    /// A body that never ends; delimited by the close, which never comes, unless `chunked`.
    pub fn endless_body(self) -> Script {
        self.body_of(u64::MAX).until_close()
    }

    /// Sends the body compressed. With `serial` the number is not in it.
    pub fn gzip(mut self) -> Script {
        if let Body::Bytes(bytes) = &self.body {
            self.body = Body::Bytes(deflate::gzip(bytes));
        }
        self.header("Content-Encoding", "gzip")
    }

    /// Puts a line `serial=N` before the body: the number of the request in `Listener::log`.
    pub fn serial(mut self) -> Script {
        self.serial = true;
        self
    }

    /// Frames the body in chunks: one for each piece.
    pub fn chunked(mut self) -> Script {
        self.framing = Framing::Chunked;
        self
    }

    /// Frames the body by the end of the connection.
    pub fn until_close(mut self) -> Script {
        self.framing = Framing::Close;
        self
    }

    /// `Content-Length` says this, whatever the body.
    pub fn announce(mut self, bytes: u64) -> Script {
        self.framing = Framing::Announced(bytes);
        self
    }

    /// So long after the reply these bytes, for which nobody has asked. With `keep_alive`.
    pub fn then_unasked(mut self, delay: Duration, bytes: impl Into<Vec<u8>>) -> Script {
        self.afterwards = Some(Afterwards { delay, bytes: bytes.into(), closes: false });
        self
    }

    /// And then closes.
    pub fn then_closes(mut self) -> Script {
        if let Some(afterwards) = &mut self.afterwards {
            afterwards.closes = true;
        }
        self
    }

    /// Offers to keep the connection, and does. Not with `until_close`.
    pub fn keep_alive(mut self) -> Script {
        self.keep_alive = true;
        self
    }

    /// So many interim replies (100, 103) before the final one.
    pub fn interim(mut self, status: u16, count: u64) -> Script {
        self.interim = (status, count);
        self
    }

    /// One more header line, with a value of so many bytes; `u64::MAX` never ends.
    pub fn huge_header(mut self, bytes: u64) -> Script {
        self.padding = Padding::Line(bytes);
        self
    }

    /// So many more header lines of 100 bytes; `u64::MAX` never ends.
    pub fn many_headers(mut self, count: u64) -> Script {
        self.padding = Padding::Lines(count);
        self
    }

    /// Waits before the first byte of the reply, interim ones included.
    pub fn delay_first_byte(mut self, delay: Duration) -> Script {
        self.first_byte_delay = delay;
        self
    }

    /// Waits between head and body.
    pub fn delay_body(mut self, delay: Duration) -> Script {
        self.body_delay = delay;
        self
    }

    /// Sends the body so many bytes at a time and waits between them.
    pub fn body_in_pieces(mut self, bytes: usize, delay: Duration) -> Script {
        self.body_pieces = Some(Pieces { bytes, delay });
        self
    }

    /// Sends the head (without `huge_header` and `many_headers`) so many bytes at a time and
    /// waits between them.
    pub fn head_in_pieces(mut self, bytes: usize, delay: Duration) -> Script {
        self.head_pieces = Some(Pieces { bytes, delay });
        self
    }

    /// Ends once the request is read, without any reply.
    pub fn cut_at_request(mut self) -> Script {
        self.cut = Some(Cut::Request);
        self
    }

    /// Ends after so many bytes of the head.
    pub fn cut_head_at(mut self, bytes: usize) -> Script {
        self.cut = Some(Cut::Head(bytes));
        self
    }

    /// Ends after so many bytes of the body (the serial's line counts; the framing does not). A
    /// cut at or past the body's end leaves chunks without their end.
    pub fn cut_body_at(mut self, bytes: u64) -> Script {
        self.cut = Some(Cut::Body(bytes));
        self
    }

    /// Ends with RST in place of FIN. What was sent last may then never be read.
    pub fn reset(mut self) -> Script {
        self.end = End::Reset;
        self
    }

    /// Ends by doing nothing any more, until the peer leaves or the listener stops.
    pub fn hang(mut self) -> Script {
        self.end = End::Hang;
        self
    }

    /// Over TLS, ends without the close notify: FIN comes as if from an attacker. Cuts always
    /// end so.
    pub fn without_close_notify(mut self) -> Script {
        self.end = End::WithoutNotify;
        self
    }

    /// Opening: waits before anything is read. The kernel has answered the connect by then, so
    /// the client's wait is for the handshake, or without TLS for the first byte.
    pub fn delay_opening(mut self, delay: Duration) -> Script {
        self.opening.delay = delay;
        self
    }

    /// Opening: closes at once (FIN; what the client sends is still read, lest it becomes RST).
    pub fn close_at_once(mut self) -> Script {
        self.opening.act = Act::Close;
        self
    }

    /// Opening: RST upon the client's first byte. Not before, where a client might take it for a
    /// refusal.
    pub fn reset_at_once(mut self) -> Script {
        self.opening.act = Act::Reset;
        self
    }

    /// Opening of TLS: closes after so many bytes of our part of the handshake; 0 is after the
    /// client's hello.
    pub fn cut_handshake_at(mut self, bytes: usize) -> Script {
        self.opening.act = Act::CutHandshake(bytes);
        self
    }

    /// Opening of TLS: answers the client's hello with this fatal alert: 40 is handshake
    /// failure, 70 protocol version, 80 internal error, 112 unrecognized name.
    pub fn alert(mut self, description: u8) -> Script {
        self.opening.act = Act::Alert(description);
        self
    }

    /// Opening of TLS: answers the client's hello with a 400 in plain text, as servers do on
    /// whose TLS port nobody speaks TLS.
    pub fn plain_on_tls(mut self) -> Script {
        self.opening.act = Act::Plain;
        self
    }
}
