//! A plain client on libcurl, for tests that ask what a listener does, without the program.

use std::path::Path;
use std::time::Duration;

use curl::easy::{Easy, SslVersion};

use super::certs;

/// A request may take this long by default.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The result of a request.
#[derive(Debug, Default)]
pub struct Fetched {
    /// curl's error number; 0 if nothing went wrong.
    pub code: u32,
    /// curl's error text.
    pub error: String,
    /// The last status; 0 if there was none.
    pub status: u32,
    /// Every header line of every reply as it came, status lines included.
    pub head: Vec<u8>,
    /// The first 64 KiB of the body.
    pub body: Vec<u8>,
    /// The length of the whole body, in bytes.
    pub bytes: u64,
    /// Time from the start until connected; 0 if curl has not told it, as for the others.
    pub connect: Duration,
    /// Time from the start until the TLS handshake was done.
    pub tls: Duration,
    /// Time from the start until the first byte; until the end if none came.
    pub first_byte: Duration,
    /// Time from the start to the end.
    pub total: Duration,
    /// The number of redirects that were followed.
    pub redirects: u32,
}

impl Fetched {
    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client that keeps its connections open, trusts only `certs::ca_file()`, and follows no
/// redirect.
pub struct Client {
    easy: Easy,
}

impl Client {
    /// Makes a client with a timeout of 20 s.
    pub fn new() -> Client {
        let mut easy = Easy::new();
        easy.proxy("").unwrap();
        easy.timeout(TIMEOUT).unwrap();
        easy.cainfo(certs::ca_file()).unwrap();
        easy.signal(false).unwrap();
        Client { easy }
    }

    /// Sets another timeout.
    pub fn timeout(mut self, timeout: Duration) -> Client {
        self.easy.timeout(timeout).unwrap();
        self
    }

    /// Follows at most this many redirects.
    pub fn follow(mut self, redirects: u32) -> Client {
        self.easy.follow_location(true).unwrap();
        self.easy.max_redirections(redirects).unwrap();
        self
    }

    /// Sends HEAD.
    pub fn head(mut self) -> Client {
        self.easy.nobody(true).unwrap();
        self
    }

    /// Sends these bytes by POST.
    pub fn post(mut self, bytes: &[u8]) -> Client {
        self.easy.post(true).unwrap();
        self.easy.post_fields_copy(bytes).unwrap();
        self
    }

    /// Asks for gzip, and unpacks it.
    pub fn gzip(mut self) -> Client {
        self.easy.accept_encoding("gzip").unwrap();
        self
    }

    /// Speaks at most TLS 1.2.
    pub fn tls12(mut self) -> Client {
        self.easy.ssl_min_max_version(SslVersion::Tlsv12, SslVersion::Tlsv12).unwrap();
        self
    }

    /// Trusts this file instead.
    pub fn trust(mut self, file: &Path) -> Client {
        self.easy.cainfo(file).unwrap();
        self
    }

    /// Accepts a certificate for any name.
    pub fn any_name(mut self) -> Client {
        self.easy.ssl_verify_host(false).unwrap();
        self
    }

    /// Presents this client certificate.
    pub fn certificate(mut self, chain: &Path, key: &Path) -> Client {
        self.easy.ssl_cert(chain).unwrap();
        self.easy.ssl_key(key).unwrap();
        self
    }

    /// Opens a new connection for every request.
    pub fn fresh(mut self) -> Client {
        self.easy.fresh_connect(true).unwrap();
        self.easy.forbid_reuse(true).unwrap();
        self
    }

    /// Fetches a URL; an error is a result too.
    pub fn get(&mut self, url: &str) -> Fetched {
        let mut got = Fetched::default();
        self.easy.url(url).unwrap();
        let done = {
            let mut transfer = self.easy.transfer();
            let Fetched { head, body, bytes, .. } = &mut got;
            transfer
                .write_function(|piece| {
                    *bytes += piece.len() as u64;
                    let room = (64 * 1024_usize).saturating_sub(body.len());
                    body.extend_from_slice(&piece[..room.min(piece.len())]);
                    Ok(piece.len())
                })
                .unwrap();
            transfer
                .header_function(|line| {
                    head.extend_from_slice(line);
                    true
                })
                .unwrap();
            transfer.perform()
        };
        if let Err(error) = done {
            got.code = error.code();
            got.error = error.extra_description().unwrap_or_default().into();
        }
        got.status = self.easy.response_code().unwrap();
        got.connect = self.easy.connect_time().unwrap();
        got.tls = self.easy.appconnect_time().unwrap();
        got.first_byte = self.easy.starttransfer_time().unwrap();
        got.total = self.easy.total_time().unwrap();
        got.redirects = self.easy.redirect_count().unwrap();
        got
    }
}

/// Fetches a URL with a new client.
pub fn get(url: &str) -> Fetched {
    Client::new().get(url)
}
