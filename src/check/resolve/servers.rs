//! Asks the name servers of `/etc/resolv.conf` about one name, to find out why the system's resolver has no
//! answer. The C libraries report a server that fails and a server that is silent in the same way, musl only
//! after 5 s. Addresses in the replies are not read: they come only from the system's resolver.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::model::connect::Family;

/// Most name servers that are asked; glibc and musl ask as many.
const SERVERS_MAX: usize = 3;
/// Number of tries for each server, since packets get lost.
const TRIES: u32 = 3;
/// Time to wait for the reply to one try.
const TRY_TIMEOUT: Duration = Duration::from_millis(600);
/// Most bytes of a reply that are read; only its header is needed.
const REPLY_BYTES: usize = 512;

/// Type of a record with an IPv4 address.
const A: u16 = 1;
/// Type of a record with an IPv6 address.
const AAAA: u16 = 28;

/// Reply of all servers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerReply {
    /// No server has answered.
    Silent,
    /// A server has answered with this error code (RFC 1035, 4.1.1).
    Failed(u8),
    /// A server has answered that the name exists, or that it does not.
    Answered,
}

/// Asks the servers for the addresses of `host`. Returns none if DNS cannot have a name like `host`, or if no
/// address of a server is known.
pub fn ask(host: &str, family: Family) -> Option<ServerReply> {
    // Without this file, glibc and musl ask a name server on this host.
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let types: &[u16] = match family {
        Family::Any => &[A, AAAA],
        Family::V4 => &[A],
        Family::V6 => &[AAAA],
    };
    let id = RandomState::new().hash_one(host) as u16;
    let numbered = types.iter().zip(0..);
    let queries: Option<Vec<Vec<u8>>> =
        numbered.map(|(of, more)| query(host, *of, id.wrapping_add(more))).collect();
    let servers = servers(&text);
    if servers.is_empty() {
        return None;
    }
    let at: Vec<SocketAddr> = servers.iter().map(|server| (*server, 53).into()).collect();
    Some(ask_all(&at, &queries?))
}

/// Reads the addresses of the name servers in a `resolv.conf`. Leaves out addresses with an interface
/// (`fe80::1%eth0`).
fn servers(text: &str) -> Vec<IpAddr> {
    let words = text.lines().map(str::split_whitespace);
    let named = words.filter_map(|mut words| {
        (words.next() == Some("nameserver")).then(|| words.next().unwrap_or_default())
    });
    let named: Vec<&str> = named.take(SERVERS_MAX).collect();
    if named.is_empty() {
        return vec![Ipv4Addr::LOCALHOST.into()];
    }
    named.into_iter().filter_map(|text| text.parse().ok()).collect()
}

/// Encodes a query (RFC 1035, 4.1) for records of the type `of`; none if DNS cannot have a name like `host`.
fn query(host: &str, of: u16, id: u16) -> Option<Vec<u8>> {
    // The header: recursion desired, one question.
    let mut bytes = [id.to_be_bytes(), [1, 0], [0, 1], [0, 0], [0, 0], [0, 0]].concat();
    for label in host.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend(of.to_be_bytes());
    bytes.extend([0, 1]);
    // 12 bytes of header, at most 255 of the name, 4 of type and class.
    (bytes.len() <= 12 + 255 + 4).then_some(bytes)
}

/// Returns the code of a reply; none if the bytes are no reply to this query.
fn code(reply: &[u8], query: &[u8]) -> Option<u8> {
    let head = reply.get(..12)?;
    (head[..2] == query[..2] && head[2] & 0x80 != 0).then_some(head[3] & 0x0f)
}

/// Server that is asked, with the code of its reply to each query.
struct ServerQuery {
    socket: UdpSocket,
    codes: Vec<Option<u8>>,
    /// True if no program listens at the server's address.
    is_gone: bool,
}

impl ServerQuery {
    fn new(server: SocketAddr, questions: usize) -> Option<ServerQuery> {
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect(server).ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(ServerQuery { socket, codes: vec![None; questions], is_gone: false })
    }

    fn send(&mut self, queries: &[Vec<u8>]) {
        let open = queries.iter().zip(&self.codes).filter(|(_, code)| code.is_none());
        for (query, _) in open {
            // If an earlier packet was refused, the kernel reports that here or at the next read.
            let sent = self.socket.send(query);
            self.is_gone |= sent.is_err();
        }
    }

    fn receive(&mut self, queries: &[Vec<u8>]) {
        let mut reply = [0; REPLY_BYTES];
        loop {
            match self.socket.recv(&mut reply) {
                Ok(length) => {
                    for (query, known) in queries.iter().zip(&mut self.codes) {
                        *known = known.or(code(&reply[..length], query));
                    }
                }
                Err(error) => {
                    self.is_gone |= error.kind() != std::io::ErrorKind::WouldBlock;
                    return;
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.codes.iter().all(Option::is_some)
    }
}

/// Asks until one server has answered all queries, or all tries are over.
fn ask_all(servers: &[SocketAddr], queries: &[Vec<u8>]) -> ServerReply {
    let asked = servers.iter().filter_map(|server| ServerQuery::new(*server, queries.len()));
    let mut asked: Vec<ServerQuery> = asked.collect();
    'tries: for _ in 0..TRIES {
        asked.iter_mut().filter(|asked| !asked.is_gone).for_each(|asked| asked.send(queries));
        let until = Instant::now() + TRY_TIMEOUT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let open = asked.iter().filter(|asked| !asked.is_gone);
            let mut fds: Vec<PollFd<'_>> =
                open.map(|asked| PollFd::new(&asked.socket, PollFlags::IN)).collect();
            if fds.is_empty() {
                break 'tries;
            }
            if left.is_zero() {
                break;
            }
            let left = Timespec::try_from(left).ok();
            // The loop makes an interrupted call again.
            let _ = poll(&mut fds, left.as_ref());
            drop(fds);
            asked.iter_mut().filter(|asked| !asked.is_gone).for_each(|one| one.receive(queries));
            if asked.iter().any(ServerQuery::is_done) {
                break 'tries;
            }
        }
    }
    let codes = || asked.iter().flat_map(|asked| &asked.codes).flatten();
    // NXDOMAIN, 3, is an answer.
    match codes().find(|code| !matches!(code, 0 | 3)) {
        Some(failed) => ServerReply::Failed(*failed),
        None if codes().next().is_some() => ServerReply::Answered,
        None => ServerReply::Silent,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn servers_are_read_as_the_c_libraries_read_them() {
        let parse = |list: &[&str]| -> Vec<IpAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        for (text, want) in [
            ("", &["127.0.0.1"][..]),
            ("search a.example\noptions ndots:5\n", &["127.0.0.1"]),
            ("# nameserver 192.0.2.9\nnameserver 192.0.2.1\n", &["192.0.2.1"]),
            ("nameserver\t192.0.2.1 \nnameserver 2001:db8::1", &["192.0.2.1", "2001:db8::1"]),
            (
                "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4",
                &["192.0.2.1", "192.0.2.2", "192.0.2.3"],
            ),
            // An address with an interface is left out.
            ("nameserver fe80::1%eth0\n", &[]),
            ("nameserver\n", &[]),
        ] {
            assert_eq!(servers(text), parse(want), "{text}");
        }
    }

    #[test]
    fn a_question_is_a_name_of_dns() {
        let bytes = query("a.example.", AAAA, 0x1234).unwrap();
        assert_eq!(bytes[..12], [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[12..], *b"\x01a\x07example\0\0\x1c\0\x01");
        for wrong in ["", ".", "a..b", &"x".repeat(64), &vec!["x".repeat(63); 4].join(".")] {
            assert_eq!(query(wrong, A, 1), None, "{wrong}");
        }
        assert!(query(&vec!["x".repeat(62); 4].join("."), A, 1).is_some());
    }

    #[test]
    fn only_a_reply_to_the_question_has_a_code() {
        let query = query("a.example", A, 7).unwrap();
        let mut reply = query.clone();
        assert_eq!(code(&reply, &query), None);
        reply[2..4].copy_from_slice(&[0x81, 0x82]);
        assert_eq!(code(&reply, &query), Some(2));
        assert_eq!(code(&reply[..11], &query), None);
        reply[1] ^= 1;
        assert_eq!(code(&reply, &query), None);
    }

    /// Starts a server that answers each query with the next of these codes; it is silent if there are none.
    fn server(codes: &'static [u8]) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut bytes = [0; 512];
            for code in codes.iter().cycle() {
                let Ok((length, from)) = socket.recv_from(&mut bytes) else { return };
                bytes[2..4].copy_from_slice(&[0x81, 0x80 | code]);
                let _ = socket.send_to(&bytes[..length], from);
            }
            thread::park();
        });
        address
    }

    #[test]
    fn silence_failure_and_answers_are_told_apart() {
        let both = [query("a.example", A, 1).unwrap(), query("a.example", AAAA, 2).unwrap()];
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (silent, fails) = (server(&[]), server(&[2]));
        for (what, servers, want) in [
            ("none", vec![], ServerReply::Silent),
            ("nobody there", vec![nobody], ServerReply::Silent),
            ("silent", vec![silent], ServerReply::Silent),
            ("SERVFAIL", vec![fails], ServerReply::Failed(2)),
            ("REFUSED", vec![server(&[5])], ServerReply::Failed(5)),
            ("NXDOMAIN", vec![server(&[3])], ServerReply::Answered),
            ("one of both", vec![server(&[0, 2])], ServerReply::Failed(2)),
            ("the second", vec![silent, fails], ServerReply::Failed(2)),
            ("after nobody", vec![nobody, server(&[0])], ServerReply::Answered),
        ] {
            let began = Instant::now();
            assert_eq!(ask_all(&servers, &both), want, "{what}");
            assert!(began.elapsed() < TRIES * TRY_TIMEOUT + Duration::from_secs(5), "{what}");
        }
    }
}
