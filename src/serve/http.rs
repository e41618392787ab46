//! A small HTTP server for the pages of a daemon: `/health` today, others later. The server answers GET and
//! HEAD, one request a connection; connections, the request's size and its time are bounded, so that no
//! visitor can hold the program up.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use smol::future::FutureExt;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, LocalExecutor, Task, Timer};

use crate::error::{Context, Error};

/// Most connections served at once: one more, and the oldest is closed, since slow visitors give way.
const CONNECTIONS_MAX: usize = 32;
/// Longest request, in bytes.
const REQUEST_MAX: usize = 8 * 1024;
/// Most header lines of a request.
const HEADERS_MAX: usize = 64;
/// Longest time of one connection in all.
const DEADLINE: Duration = Duration::from_secs(10);
/// Most bytes to read behind a request.
const REST_MAX: usize = 64 * 1024;
/// Time that a visitor who goes on sending has for taking the answer.
const LINGER: Duration = Duration::from_secs(1);
/// Pause after an error of accept, such as a lack of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Answer to a request.
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
    /// Creates an answer of one line of plain text.
    pub fn text(status: u16, text: &str) -> Response {
        let content_type = "text/plain; charset=utf-8";
        Response { status, content_type, body: format!("{text}\n") }
    }

    /// Creates an answer of JSON.
    pub fn json(status: u16, body: String) -> Response {
        Response { status, content_type: "application/json", body }
    }
}

/// Opens the port, and listens.
///
/// # Errors
/// The address is taken, or is none of this machine.
pub fn listen(address: SocketAddr) -> Result<Async<TcpListener>, Error> {
    Async::<TcpListener>::bind(address).cannot(format_args!("listen on {address}"))
}

/// Serves requests until dropped. `answer` gets the path of a GET or HEAD, without the query.
pub async fn serve(listener: Async<TcpListener>, answer: impl Fn(&str) -> Response) {
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
    answer: &impl Fn(&str) -> Response,
) -> io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    let (response, is_head) = loop {
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&piece[..read]);
        if let Some(decided) = decide(&request, answer) {
            break decided;
        }
    };
    stream.write_all(&encode(&response, is_head)).await?;
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

/// Returns the response to the part of a request that has arrived, once that is enough to decide. True: the
/// request is a HEAD.
fn decide(request: &[u8], answer: &impl Fn(&str) -> Response) -> Option<(Response, bool)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(request) {
        Err(httparse::Error::TooManyHeaders) => {
            Some((Response::text(431, "too many headers"), false))
        }
        Err(_) => Some((Response::text(400, "not an HTTP request"), false)),
        Ok(httparse::Status::Partial) if request.len() > REQUEST_MAX => {
            Some((Response::text(431, "the request is too large"), false))
        }
        Ok(httparse::Status::Partial) => None,
        Ok(httparse::Status::Complete(_)) => {
            let path = parsed.path.unwrap_or("/").split('?').next().unwrap_or("/");
            Some(match parsed.method {
                Some("GET") => (answer(path), false),
                Some("HEAD") => (answer(path), true),
                _ => (Response::text(405, "only GET and HEAD"), false),
            })
        }
    }
}

fn encode(response: &Response, is_head: bool) -> Vec<u8> {
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
    if !is_head {
        bytes.extend_from_slice(response.body.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(request: &[u8]) -> Option<u16> {
        let answer = |path: &str| match path {
            "/health" => Response::json(200, "{}".to_owned()),
            _ => Response::text(404, "no such page"),
        };
        decide(request, &answer).map(|(response, _)| response.status)
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
            assert_eq!(status(request), want, "{}", String::from_utf8_lossy(request));
        }
    }

    #[test]
    fn a_head_has_no_body() {
        let response = Response::text(200, "ok");
        assert!(encode(&response, false).ends_with(b"\r\n\r\nok\n"));
        let head = encode(&response, true);
        assert!(head.ends_with(b"\r\n\r\n"));
        assert!(String::from_utf8_lossy(&head).contains("Content-Length: 3\r\n"));
    }
}
