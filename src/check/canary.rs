//! Connects to canaries, to find out if anybody answers. [`crate::model::uplink`] decides which canaries are
//! asked, and what an answer means.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use smol::Timer;
use smol::channel::{Receiver, Sender};
use smol::future::or;

use super::resolve::{LookupKind, LookupReply, Resolution, Step, look_up};
use crate::model::connect::Family;
use crate::model::uplink::{CANARY_TIMEOUT, Canary, CanaryAnswer, distance};
use crate::threads;

/// Most threads that ask canaries at once; with those whose lookup hangs on a dead name server.
const ASKED_MAX: usize = 64;
/// Most addresses of a canary that are tried. They share [`CANARY_TIMEOUT`].
const ADDRESSES_MAX: usize = 4;

/// Asks canaries, each on a thread of its own, and collects their answers.
pub struct CanaryClient {
    answers_in: Sender<CanaryAnswer>,
    answers: Receiver<CanaryAnswer>,
}

impl Default for CanaryClient {
    fn default() -> CanaryClient {
        let (answers_in, answers) = smol::channel::unbounded();
        CanaryClient { answers_in, answers }
    }
}

impl CanaryClient {
    /// Asks a canary for a round. Returns false if too many threads ask already, or no thread can be started:
    /// then no answer comes. (The thread may hang in a lookup for longer than the round waits.)
    pub fn ask(&self, canary: Canary, round: u64) -> bool {
        // Each thread holds one sender of the channel, and so does this client.
        let answers = self.answers_in.clone();
        if answers.sender_count() > ASKED_MAX {
            return false;
        }
        let ask = move || {
            // The client may be gone.
            let _ = answers.try_send(connect(canary, round, &answers));
        };
        threads::named("canary").spawn(ask).is_ok()
    }

    /// Waits for the next answer until the time `until`, or without a limit if that is none. Returns none
    /// once the time has come.
    pub async fn next_answer(&self, until: Option<Instant>) -> Option<CanaryAnswer> {
        let answer = async { self.answers.recv().await.ok() };
        let Some(until) = until else { return answer.await };
        let time = async {
            Timer::at(until).await;
            None
        };
        or(answer, time).await
    }
}

/// Connects to a canary, and returns its answer. A refused connection is an answer too; but a proxy must send
/// a byte.
fn connect(canary: Canary, round: u64, answers: &Sender<CanaryAnswer>) -> CanaryAnswer {
    let found = match canary.host.parse() {
        Ok(address) => vec![address],
        Err(_) => look_up_host(&canary.host, answers),
    };
    let mut addresses: Vec<SocketAddr> =
        found.into_iter().map(|address| (address, canary.port).into()).collect();
    let named = addresses.iter().map(|address| distance(address.ip())).max();
    let named = named.filter(|_| canary.is_name());
    addresses.truncate(ADDRESSES_MAX);
    let each = CANARY_TIMEOUT / addresses.len().max(1) as u32;
    let is_proxy = !canary.request.is_empty();
    let answers = |address: &SocketAddr| match TcpStream::connect_timeout(address, each) {
        Err(error) => !is_proxy && error.kind() == std::io::ErrorKind::ConnectionRefused,
        Ok(stream) => !is_proxy || answers_request(stream, canary.request, each),
    };
    let distance = addresses.iter().find(|address| answers(address)).map(|at| distance(at.ip()));
    CanaryAnswer { round, host: canary.host, named, distance, is_proxy, at: Instant::now() }
}

fn answers_request(mut stream: TcpStream, request: &[u8], within: Duration) -> bool {
    let is_asked = stream.write_all(request).and_then(|()| stream.set_read_timeout(Some(within)));
    is_asked.is_ok() && stream.read(&mut [0]).is_ok_and(|count| count > 0)
}

/// Returns the addresses of a name, in the same way as for a check: if a name server is silent for one
/// family, the addresses of the other are found. Lookups that hang keep a sender of the channel each.
fn look_up_host(host: &str, answers: &Sender<CanaryAnswer>) -> Vec<IpAddr> {
    let (found_in, found) = mpsc::channel();
    let begin = |kind: LookupKind, family: Family| {
        let (host, found_in, held) = (host.to_owned(), found_in.clone(), answers.clone());
        let look = move || {
            // The receiver may be gone.
            let _ = found_in.send((kind, LookupReply::System(look_up(&host, family))));
            drop(held);
        };
        threads::named("canary").spawn(look).is_ok()
    };
    let began = Instant::now();
    let mut resolution = Resolution::new(host.to_owned(), Family::Any, Family::Any, CANARY_TIMEOUT);
    resolution.set_start(began);
    if !begin(resolution.first(), Family::Any) {
        return Vec::new();
    }
    while began.elapsed() < CANARY_TIMEOUT {
        let now = Instant::now();
        match resolution.step(now) {
            Step::Done(resolved) => {
                return resolved.addresses.map(|all| all.to_vec()).unwrap_or_default();
            }
            Step::Ask(kinds) => {
                for kind in kinds {
                    match kind {
                        LookupKind::First(family) | LookupKind::OneFamily(family) => {
                            // The first lookup may succeed without this one.
                            let _ = begin(kind, family);
                        }
                        // The reason why there is no address is not needed here.
                        LookupKind::NameServers(_) => {
                            resolution.take_reply(kind, LookupReply::Servers(None), (now, now));
                        }
                    }
                }
            }
            Step::Wait => {
                let until = resolution
                    .next_at()
                    .unwrap_or(began + CANARY_TIMEOUT)
                    .min(began + CANARY_TIMEOUT);
                let left = until.saturating_duration_since(now);
                if let Ok((kind, reply)) = found.recv_timeout(left) {
                    resolution.take_reply(kind, reply, (began, Instant::now()));
                }
            }
        }
    }
    Vec::new()
}
