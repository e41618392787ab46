//! Describes the reply of a listener: a value, built in one expression, without I/O.
//!
//! A script has two parts. The opening happens before a request is read, so it belongs to the
//! listener as a whole (`Listener::always`). The rest is played for each request, in this order:
//! first delay, interim replies, head, delay, body, end. A cut ends it early; `reset` and `hang`
//! choose the kind of end.

use std::time::Duration;

use super::deflate;
use super::reply::reason;

/// One reply. It ends with `Connection: close` by default.
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

/// Bytes that follow a reply although no request asked for them.
#[derive(Debug, Clone)]
pub(super) struct Afterwards {
    pub delay: Duration,
    pub bytes: Vec<u8>,
    pub closes: bool,
}

/// The treatment of a connection before anything is read from it.
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
    /// The alphabet, repeated.
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
    /// Sends 200 with this body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Script {
        Script::status(200).body(body)
    }

    /// Sends this status, without a body.
    pub fn status(status: u16) -> Script {
        let head = Head::Made {
            status,
            reason: reason(status).into(),
            headers: Vec::new(),
            onward: false,
        };
        Script { head, ..Script::default() }
    }

    /// Redirects to any place: absolute, relative, of another scheme, or no URL at all. For a
    /// redirect without a place use `status(302)`.
    pub fn redirect(status: u16, location: impl Into<Vec<u8>>) -> Script {
        Script::status(status).header("Location", location)
    }

    /// Redirects to `/hop/SERIAL`, another place each time: with `always` it never ends.
    pub fn redirect_onward(status: u16) -> Script {
        let mut script = Script::status(status);
        if let Head::Made { onward, .. } = &mut script.head {
            *onward = true;
        }
        script
    }

    /// Sends these bytes in place of a head, and nothing after them unless a body is set: garbage,
    /// HTTP/0.9, or heads that cannot be built.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Script {
        Script { head: Head::Raw(bytes.into()), framing: Framing::Close, ..Script::default() }
    }

    /// Reads requests, and never answers.
    pub fn silence() -> Script {
        Script::default().cut_at_request().hang()
    }

    /// Sends 200 with a gzip body that unpacks to `size` bytes `A`.
    pub fn gzip_bomb(size: u64) -> Script {
        Script::ok(deflate::bomb(size)).header("Content-Encoding", "gzip")
    }

    /// Sets the reason phrase.
    pub fn reason(mut self, words: &str) -> Script {
        if let Head::Made { reason, .. } = &mut self.head {
            *reason = words.into();
        }
        self
    }

    /// Adds a header, sent as it is, with any bytes. `Content-Length`, `Transfer-Encoding` and
    /// `Connection` are added to the automatic ones.
    pub fn header(mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Script {
        if let Head::Made { headers, .. } = &mut self.head {
            headers.push((name.into(), value.into()));
        }
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Script {
        self.body = Body::Bytes(body.into());
        self
    }

    /// Sends a body of this many bytes, the alphabet repeated, made while it is sent.
    pub fn body_of(mut self, bytes: u64) -> Script {
        self.body = Body::Made(bytes);
        self
    }

    /// Sends a body that never ends: by close, which never comes, or `chunked`.
    pub fn endless_body(self) -> Script {
        self.body_of(u64::MAX).until_close()
    }

    /// Compresses the body, without the line of `serial`.
    pub fn gzip(mut self) -> Script {
        if let Body::Bytes(bytes) = &self.body {
            self.body = Body::Bytes(deflate::gzip(bytes));
        }
        self.header("Content-Encoding", "gzip")
    }

    /// Puts a line `serial=N` before the body: the request's number in `Listener::log`.
    pub fn serial(mut self) -> Script {
        self.serial = true;
        self
    }

    /// Sends the body in chunks, one for each piece.
    pub fn chunked(mut self) -> Script {
        self.framing = Framing::Chunked;
        self
    }

    /// Ends the body by closing the connection.
    pub fn until_close(mut self) -> Script {
        self.framing = Framing::Close;
        self
    }

    /// Sends this `Content-Length`, whatever the body.
    pub fn announce(mut self, bytes: u64) -> Script {
        self.framing = Framing::Announced(bytes);
        self
    }

    /// Sends these bytes this long after the reply, with no request. Needs `keep_alive`.
    pub fn then_unasked(mut self, delay: Duration, bytes: impl Into<Vec<u8>>) -> Script {
        self.afterwards = Some(Afterwards { delay, bytes: bytes.into(), closes: false });
        self
    }

    /// Closes the connection after that.
    pub fn then_closes(mut self) -> Script {
        if let Some(afterwards) = &mut self.afterwards {
            afterwards.closes = true;
        }
        self
    }

    /// Keeps the connection open for more requests. Not with `until_close`.
    pub fn keep_alive(mut self) -> Script {
        self.keep_alive = true;
        self
    }

    /// Sends this many interim replies (100, 103) before the final one.
    pub fn interim(mut self, status: u16, count: u64) -> Script {
        self.interim = (status, count);
        self
    }

    /// Adds a header line with a value of this many bytes; `u64::MAX` never ends.
    pub fn huge_header(mut self, bytes: u64) -> Script {
        self.padding = Padding::Line(bytes);
        self
    }

    /// Adds this many header lines of 100 bytes; `u64::MAX` never ends.
    pub fn many_headers(mut self, count: u64) -> Script {
        self.padding = Padding::Lines(count);
        self
    }

    /// Waits before the first byte of the reply, interim replies included.
    pub fn delay_first_byte(mut self, delay: Duration) -> Script {
        self.first_byte_delay = delay;
        self
    }

    /// Waits between head and body.
    pub fn delay_body(mut self, delay: Duration) -> Script {
        self.body_delay = delay;
        self
    }

    /// Sends the body in pieces of this many bytes, with a wait between them.
    pub fn body_in_pieces(mut self, bytes: usize, delay: Duration) -> Script {
        self.body_pieces = Some(Pieces { bytes, delay });
        self
    }

    /// Sends the head (without `huge_header` and `many_headers`) in pieces of this many bytes, with
    /// a wait between them.
    pub fn head_in_pieces(mut self, bytes: usize, delay: Duration) -> Script {
        self.head_pieces = Some(Pieces { bytes, delay });
        self
    }

    /// Ends once the request is read, without a reply.
    pub fn cut_at_request(mut self) -> Script {
        self.cut = Some(Cut::Request);
        self
    }

    /// Ends after this many bytes of the head.
    pub fn cut_head_at(mut self, bytes: usize) -> Script {
        self.cut = Some(Cut::Head(bytes));
        self
    }

    /// Ends after this many bytes of the body (the serial's line counts; the framing does not). A
    /// cut at or past the body's end leaves chunks without their end.
    pub fn cut_body_at(mut self, bytes: u64) -> Script {
        self.cut = Some(Cut::Body(bytes));
        self
    }

    /// Ends with RST instead of FIN. The client may then never read the last bytes.
    pub fn reset(mut self) -> Script {
        self.end = End::Reset;
        self
    }

    /// Ends by doing nothing until the peer leaves or the listener stops.
    pub fn hang(mut self) -> Script {
        self.end = End::Hang;
        self
    }

    /// Ends TLS without a close notify: FIN comes as if from an attacker. Cuts always end so.
    pub fn without_close_notify(mut self) -> Script {
        self.end = End::WithoutNotify;
        self
    }

    /// Opening: waits before anything is read. The kernel has accepted the connection by then, so
    /// the client waits for the handshake, or without TLS for the first byte.
    pub fn delay_opening(mut self, delay: Duration) -> Script {
        self.opening.delay = delay;
        self
    }

    /// Opening: closes at once (FIN; the client's bytes are still read, or it would become RST).
    pub fn close_at_once(mut self) -> Script {
        self.opening.act = Act::Close;
        self
    }

    /// Opening: sends RST at the client's first byte. An earlier RST could look like a refused
    /// connection.
    pub fn reset_at_once(mut self) -> Script {
        self.opening.act = Act::Reset;
        self
    }

    /// Opening of TLS: closes after this many bytes of our part of the handshake; 0 is after the
    /// client's hello.
    pub fn cut_handshake_at(mut self, bytes: usize) -> Script {
        self.opening.act = Act::CutHandshake(bytes);
        self
    }

    /// Opening of TLS: answers the client's hello with this fatal alert: 40 is handshake failure,
    /// 70 protocol version, 80 internal error, 112 unrecognized name.
    pub fn alert(mut self, description: u8) -> Script {
        self.opening.act = Act::Alert(description);
        self
    }

    /// Opening of TLS: answers the client's hello with a 400 in plain text, as servers do that
    /// speak no TLS on their TLS port.
    pub fn plain_on_tls(mut self) -> Script {
        self.opening.act = Act::Plain;
        self
    }
}
