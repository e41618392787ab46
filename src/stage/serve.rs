//! Serves the pages of a daemon over HTTP, on a thread of its own: no visitor holds up signals or a stage.
//!
//! Takes: requests, and the health that the other stages write. Gives: responses. Ends when: dropped; the
//! connections that are open then are closed. On failure: a port that is taken keeps the daemon from starting;
//! later a connection that fails is closed, and the others go on.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use smol::Async;
use smol::channel::Sender;
use smol::future::FutureExt;

use crate::error::{Context, Error};
use crate::model::health::SharedHealth;
use crate::serve::http::{self, Request, Response};
use crate::show::health::json;
use crate::threads;

/// Server of a daemon's pages.
pub struct PageServer {
    /// Closed to end the thread.
    end: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl PageServer {
    /// Listens on `address`, and starts to serve.
    ///
    /// # Errors
    /// The address is taken, or is none of this machine; or no thread can be started.
    pub fn start(address: SocketAddr, health: Arc<SharedHealth>) -> Result<PageServer, Error> {
        PageServer::start_on(http::listen(address)?, health)
    }

    fn start_on(
        listener: Async<TcpListener>,
        health: Arc<SharedHealth>,
    ) -> Result<PageServer, Error> {
        let (end, ended) = smol::channel::bounded::<()>(1);
        let thread = threads::named("serve").spawn(move || {
            let end = async { ended.recv().await.unwrap_or(()) };
            let answer = |request: Request<'_>| answer(request, &health);
            smol::block_on(end.or(http::serve(listener, answer)));
        });
        Ok(PageServer { end, thread: Some(thread.cannot("start a thread")?) })
    }
}

impl Drop for PageServer {
    fn drop(&mut self) {
        self.end.close();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            let _ = thread.join();
        }
    }
}

/// Returns the response to a request: `/health` is 200 if all is well, else 503.
fn answer(request: Request<'_>, health: &SharedHealth) -> Response {
    match request.path {
        "/health" => {
            let health = health.snapshot();
            let status = if health.trouble.is_none() { 200 } else { 503 };
            Response::json(status, json(&health))
        }
        _ => Response::text(404, "no such page; there is /health"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{Ipv4Addr, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::model::counters::Daemon;
    use crate::model::target::Method;

    #[test]
    fn health_is_503_while_there_is_trouble() {
        let health = SharedHealth::new(Daemon::Run, "a");
        let request = Request { method: Method::Get, path: "/health", query: "" };
        assert_eq!(answer(request, &health).status, 200);
        health.update(|health| health.trouble = Some("store_away"));
        let response = answer(request, &health);
        assert_eq!(response.status, 503);
        assert!(response.body.contains("store_away"), "{response:?}");
        assert_eq!(answer(Request { path: "/", ..request }, &health).status, 404);
    }

    #[test]
    fn a_dropped_server_waits_for_nobody() {
        let listener = http::listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.get_ref().local_addr().unwrap();
        let health = SharedHealth::new(Daemon::Run, "a");
        let server = PageServer::start_on(listener, Arc::clone(&health)).unwrap();
        let mut slow = TcpStream::connect(address).unwrap();
        slow.write_all(b"GET /hea").unwrap();
        let mut visitor = TcpStream::connect(address).unwrap();
        visitor.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
        let mut response = String::new();
        visitor.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        drop(server);
        assert_eq!(Arc::strong_count(&health), 1, "the thread has ended");
        slow.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let read = slow.read(&mut [0; 1]);
        let is_closed = match &read {
            Ok(count) => *count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        assert!(is_closed, "{read:?}");
    }
}
