//! A site from before RFC 5746 (2010): TLS 1.2 without secure renegotiation, which today's
//! libraries cannot speak. It has one cipher (RSA key exchange, AES-128-GCM, SHA-256), takes one
//! request on a connection, and always sends the same reply.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Padding;
use openssl::sha::sha256;
use openssl::sign::Signer;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};

use super::certs::Leaf;
use super::wire::close;

/// Types of records.
const CHANGE_CIPHER: u8 = 20;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
/// TLS 1.2.
const VERSION: [u8; 2] = [3, 3];
/// TLS_RSA_WITH_AES_128_GCM_SHA256 (RFC 5288).
const CIPHER: [u8; 2] = [0, 0x9c];
const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nold";

/// The server; dropping it stops it.
pub struct Legacy {
    address: SocketAddr,
    socket: Arc<TcpListener>,
}

impl Legacy {
    /// Listens on 127.0.0.1 with this certificate, whose key must be RSA.
    pub fn start(leaf: &Leaf) -> Legacy {
        let socket = Arc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let address = socket.local_addr().unwrap();
        let (accepting, leaf) = (Arc::clone(&socket), leaf.clone());
        thread::spawn(move || {
            // Accepting ends when the socket is shut down.
            while let Ok((stream, _)) = accepting.accept() {
                let leaf = leaf.clone();
                thread::spawn(move || {
                    // A client that leaves ends its connection.
                    let _ = serve(&stream, &leaf);
                    close(&stream);
                });
            }
        });
        Legacy { address, socket }
    }

    /// Returns the URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }
}

impl Drop for Legacy {
    fn drop(&mut self) {
        let _ = socket2::SockRef::from(&*self.socket).shutdown(Shutdown::Both);
    }
}

fn serve(mut stream: &TcpStream, leaf: &Leaf) -> Result<()> {
    let hello = record(stream, HANDSHAKE)?;
    let client_random = &hello[6..38];
    let server_random = [7; 32];
    let mut said = hello.clone();

    // Fields: version, random, no session, cipher, no compression, no extensions.
    let answer = [&VERSION[..], &server_random, &[0], &CIPHER, &[0]].concat();
    let mut certificates = Vec::new();
    for certificate in leaf.chain() {
        let der = certificate.to_der().unwrap();
        certificates.extend(size3(der.len()));
        certificates.extend(der);
    }
    let certificates = [&size3(certificates.len())[..], &certificates].concat();
    for (kind, body) in [(2, answer), (11, certificates), (14, Vec::new())] {
        let message = message(kind, &body);
        said.extend(&message);
        send(stream, HANDSHAKE, &message)?;
    }

    let exchange = record(stream, HANDSHAKE)?;
    said.extend(&exchange);
    let rsa = leaf.key().rsa().unwrap();
    let mut secret = vec![0; rsa.size() as usize];
    let size = rsa.private_decrypt(&exchange[6..], &mut secret, Padding::PKCS1)?;
    let randoms = [client_random, &server_random].concat();
    let master = prf(&secret[..size], b"master secret", &randoms, 48);
    let randoms = [&server_random, client_random].concat();
    let keys = prf(&master, b"key expansion", &randoms, 40);
    let (theirs, ours) = ((&keys[..16], &keys[32..36]), (&keys[16..32], &keys[36..40]));

    record(stream, CHANGE_CIPHER)?;
    said.extend(open(theirs, 0, HANDSHAKE, &record(stream, HANDSHAKE)?)?);
    send(stream, CHANGE_CIPHER, &[1])?;
    let finished = message(20, &prf(&master, b"server finished", &sha256(&said), 12));
    send(stream, HANDSHAKE, &seal(ours, 0, HANDSHAKE, &finished)?)?;
    open(theirs, 1, DATA, &record(stream, DATA)?)?;
    send(stream, DATA, &seal(ours, 1, DATA, REPLY)?)?;
    stream.flush()
}

/// Reads a record of this type.
fn record(mut stream: &TcpStream, kind: u8) -> Result<Vec<u8>> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut body)?;
    if head[0] == kind { Ok(body) } else { Err(ErrorKind::InvalidData.into()) }
}

fn send(mut stream: &TcpStream, kind: u8, body: &[u8]) -> Result<()> {
    let size = u16::try_from(body.len()).unwrap().to_be_bytes();
    stream.write_all(&[&[kind][..], &VERSION, &size, body].concat())
}

/// Builds a handshake message.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &size3(body.len()), body].concat()
}

fn size3(size: usize) -> [u8; 3] {
    let [_, a, b, c] = u32::try_from(size).unwrap().to_be_bytes();
    [a, b, c]
}

/// Computes the pseudorandom function of RFC 5246, section 5, with SHA-256.
fn prf(secret: &[u8], label: &[u8], seed: &[u8], size: usize) -> Vec<u8> {
    let key = PKey::hmac(secret).unwrap();
    let hmac = |parts: &[&[u8]]| {
        let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
        parts.iter().for_each(|part| signer.update(part).unwrap());
        signer.sign_to_vec().unwrap()
    };
    let (mut made, mut a) = (Vec::new(), hmac(&[label, seed]));
    while made.len() < size {
        made.extend(hmac(&[&a, label, seed]));
        a = hmac(&[&a]);
    }
    made.truncate(size);
    made
}

/// Returns the additional data of record `number` (RFC 5246, section 6.2.3.3).
fn beside(number: u64, kind: u8, size: usize) -> Vec<u8> {
    let size = u16::try_from(size).unwrap().to_be_bytes();
    [&number.to_be_bytes()[..], &[kind], &VERSION, &size].concat()
}

/// Encrypts a record; the nonce is the salt and the record's number (RFC 5288, section 3).
fn seal((key, salt): (&[u8], &[u8]), number: u64, kind: u8, text: &[u8]) -> Result<Vec<u8>> {
    let (rest, mut tag) = (number.to_be_bytes(), [0; 16]);
    let nonce = [salt, &rest].concat();
    let beside = beside(number, kind, text.len());
    let cipher = Cipher::aes_128_gcm();
    let sealed = encrypt_aead(cipher, key, Some(&nonce), &beside, text, &mut tag)?;
    Ok([&rest[..], &sealed, &tag].concat())
}

fn open((key, salt): (&[u8], &[u8]), number: u64, kind: u8, body: &[u8]) -> Result<Vec<u8>> {
    let Some(size) = body.len().checked_sub(24) else {
        return Err(Error::from(ErrorKind::InvalidData));
    };
    let nonce = [salt, &body[..8]].concat();
    let (sealed, tag) = body[8..].split_at(size);
    let beside = beside(number, kind, size);
    Ok(decrypt_aead(Cipher::aes_128_gcm(), key, Some(&nonce), &beside, sealed, tag)?)
}
