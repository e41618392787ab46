//! A small HTTP server for the pages of a daemon. The server answers GET and HEAD, one request a connection;
//! connections, the request's size and its time are bounded, so that no visitor can hold the program up.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use smol::future::FutureExt;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, LocalExecutor, Task, Timer};

use crate::error::{Context, Error};
use crate::model::target::Method;
use crate::threads;

/// Most connections served at once: one more, and the oldest is closed, since slow visitors give way.
const CONNECTIONS_MAX: usize = 32;
/// Longest request, in bytes.
const REQUEST_MAX: usize = 8 * 1024;
/// Maximum number of header lines of a request.
const HEADERS_MAX: usize = 64;
/// Maximum total duration of one connection.
const DEADLINE: Duration = Duration::from_secs(10);
/// Most bytes to read behind a request.
const REST_MAX: usize = 64 * 1024;
/// Time that a visitor who goes on sending has for taking the response.
const LINGER: Duration = Duration::from_secs(1);
/// Pause after an error of accept, such as a lack of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Request of a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// GET or HEAD: a request of another method is refused before anybody sees it.
    pub method: Method,
    /// Part of the target before the first `?`, as the visitor sent it: not decoded.
    pub path: &'a str,
    /// Part of the target behind the first `?`, not decoded; empty if there is none.
    pub query: &'a str,
}

impl<'a> Request<'a> {
    /// Reads a request line. None: the method is neither GET nor HEAD.
    fn new(method: &str, target: &'a str) -> Option<Request<'a>> {
        let method = match Method::parse(method)? {
            method @ (Method::Get | Method::Head) => method,
            _ => return None,
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Some(Request { method, path, query })
    }
}

/// Response to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Response {
    /// Creates a response of one line of plain text.
    pub fn text(status: u16, text: &str) -> Response {
        let content_type = "text/plain; charset=utf-8";
        Response { status, content_type, body: format!("{text}\n") }
    }

    /// Creates a response of JSON.
    pub fn json(status: u16, body: String) -> Response {
        Response { status, content_type: "application/json", body }
    }
}

/// Opens the port, and listens.
///
/// # Errors
/// The address is taken, or is none of this machine; or no thread can be started.
pub fn listen(address: SocketAddr) -> Result<Async<TcpListener>, Error> {
    // async-io starts a thread of its own.
    threads::ensure_spare(1).cannot("start a thread")?;
    Async::<TcpListener>::bind(address).cannot(format_args!("listen on {address}"))
}

/// Serves requests until dropped. `answer` must not block: all connections wait meanwhile.
pub async fn serve(listener: Async<TcpListener>, answer: impl Fn(Request<'_>) -> Response) {
    let executor = LocalExecutor::new();
    let accept = async {
        let mut open: VecDeque<Task<()>> = VecDeque::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                Timer::after(PAUSE).await;
                continue;
            };
            open.retain(|task| !task.is_finished());
            if open.len() >= CONNECTIONS_MAX {
                // Dropping its task ends the oldest connection.
                open.pop_front();
            }
            let answer = &answer;
            open.push_back(executor.spawn(async move {
                let late = async {
                    Timer::after(DEADLINE).await;
                    Err(io::ErrorKind::TimedOut.into())
                };
                // A visitor that goes away is no event.
                let _ = converse(stream, answer).or(late).await;
            }));
        }
    };
    executor.run(accept).await;
}

/// Reads one request, and sends one response.
async fn converse(
    mut stream: Async<TcpStream>,
    answer: &impl Fn(Request<'_>) -> Response,
) -> io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    let response = loop {
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&piece[..read]);
        if let Some(response) = respond(&request, answer) {
            break response;
        }
    };
    stream.write_all(&response).await?;
    stream.flush().await?;
    // Bytes that are still on their way in would turn our close into a reset that eats the response.
    stream.get_ref().shutdown(std::net::Shutdown::Write)?;
    let mut rest = 0;
    while rest < REST_MAX {
        match stream.read(&mut piece).await? {
            0 => return Ok(()),
            read => rest += read,
        }
    }
    // No more is read, so that the kernel holds the visitor up: reading on would keep a core busy.
    Timer::after(LINGER).await;
    Ok(())
}

/// Returns the response to the part of a request that has arrived, encoded; none: more must arrive first.
fn respond(bytes: &[u8], answer: &impl Fn(Request<'_>) -> Response) -> Option<Vec<u8>> {
    let refuse = |status, text| Some(encode(&Response::text(status, text), Method::Get));
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(bytes) {
        Err(httparse::Error::TooManyHeaders) => refuse(431, "too many headers"),
        Err(_) => refuse(400, "not an HTTP request"),
        Ok(httparse::Status::Partial) if bytes.len() > REQUEST_MAX => {
            refuse(431, "the request is too large")
        }
        Ok(httparse::Status::Partial) => None,
        Ok(httparse::Status::Complete(_)) => {
            let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or("/"));
            match Request::new(method, target) {
                Some(request) => Some(encode(&answer(request), request.method)),
                None => refuse(405, "only GET and HEAD"),
            }
        }
    }
}

/// Encodes a response. One to a HEAD has no body, but the body's length.
fn encode(response: &Response, method: Method) -> Vec<u8> {
    let reason = match response.status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "",
    };
    let allow = if response.status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        response.status,
        response.content_type,
        response.body.len()
    );
    let mut bytes = head.into_bytes();
    if method != Method::Head {
        bytes.extend_from_slice(response.body.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the status line of the response, once there is one.
    fn status(request: &[u8]) -> Option<String> {
        let answer = |request: Request<'_>| match request.path {
            "/health" => Response::json(200, "{}".to_owned()),
            _ => Response::text(404, "no such page"),
        };
        let response = respond(request, &answer)?;
        String::from_utf8(response).unwrap().lines().next().map(str::to_owned)
    }

    #[test]
    fn requests_are_told_apart() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65));
        let large = [b"GET /".as_slice(), &[b'a'; REQUEST_MAX]].concat();
        for (request, want) in [
            (b"GET /health HTTP/1.1\r\n\r\n".as_slice(), Some(200)),
            (b"HEAD /health?x=1 HTTP/1.0\r\nHost: a\r\n\r\n", Some(200)),
            (b"GET /other HTTP/1.1\r\n\r\n", Some(404)),
            (b"POST /health HTTP/1.1\r\n\r\n", Some(405)),
            (b"\x16\x03\x01 hello\r\n\r\n", Some(400)),
            (b"GET /health HTTP/1.1\r\nHos", None),
            (b"", None),
            (many.as_bytes(), Some(431)),
            (&large, Some(431)),
        ] {
            let line = status(request);
            let code = line.as_ref().map(|line| line[9..12].parse().unwrap());
            assert_eq!(code, want, "{}", String::from_utf8_lossy(request));
        }
    }

    #[test]
    fn the_query_begins_behind_the_first_question_mark() {
        for (target, path, query) in [
            ("/", "/", ""),
            ("/checks?", "/checks", ""),
            ("/checks?target=a%20b&since=1d", "/checks", "target=a%20b&since=1d"),
            ("/checks?a=?b/c", "/checks", "a=?b/c"),
            ("?a", "", "a"),
        ] {
            let request = Request::new("HEAD", target).unwrap();
            assert_eq!(request, Request { method: Method::Head, path, query }, "{target}");
        }
    }

    #[test]
    fn methods_other_than_get_and_head_are_no_requests() {
        assert!(Request::new("GET", "/").is_some());
        for method in ["POST", "get", "", "BREW"] {
            assert_eq!(Request::new(method, "/"), None, "{method}");
        }
    }

    #[test]
    fn a_head_has_no_body() {
        let response = Response::text(200, "ok");
        assert!(encode(&response, Method::Get).ends_with(b"\r\n\r\nok\n"));
        let head = encode(&response, Method::Head);
        assert!(head.ends_with(b"\r\n\r\n"));
        assert!(String::from_utf8_lossy(&head).contains("Content-Length: 3\r\n"));
    }
}
