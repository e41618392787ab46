//! Why a broker's certificate is refused, said so that one can act: librdkafka tells only that it
//! was.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod};
use openssl::x509::X509VerifyResult;
use openssl::x509::store::X509StoreBuilder;

use crate::config::KafkaTls;
use crate::roots;

/// How long each step may take.
const STEP: Duration = Duration::from_secs(3);

/// Makes a handshake of our own with `broker` (host:port); if its certificate is refused, says
/// why.
pub fn refusal(broker: &str, tls: &KafkaTls) -> Option<String> {
    let (host, _) = broker.rsplit_once(':')?;
    let host = host.trim_matches(['[', ']']);
    let address = broker.to_socket_addrs().ok()?.next()?;
    let stream = TcpStream::connect_timeout(&address, STEP).ok()?;
    stream.set_read_timeout(Some(STEP)).ok()?;
    stream.set_write_timeout(Some(STEP)).ok()?;
    let mut builder = SslConnector::builder(SslMethod::tls_client()).ok()?;
    let mut store = X509StoreBuilder::new().ok()?;
    let trusted = match &tls.ca_file {
        Some(path) => roots::read(path).ok()?,
        None => roots::host(),
    };
    for certificate in trusted {
        store.add_cert(certificate).ok()?;
    }
    builder.set_cert_store(store.build());
    let ssl = builder.build().configure().ok()?.into_ssl(host).ok()?;
    let mut stream = openssl::ssl::SslStream::new(ssl, stream).ok()?;
    // A client certificate may be wanted later; by then the broker's has been judged.
    let _ = stream.connect();
    let result = stream.ssl().verify_result();
    if result == X509VerifyResult::OK {
        return None;
    }
    let why = result.error_string();
    let advice = match result.as_raw() {
        openssl_sys::X509_V_ERR_HOSTNAME_MISMATCH | openssl_sys::X509_V_ERR_IP_ADDRESS_MISMATCH => {
            format!("it is not for {host}")
        }
        openssl_sys::X509_V_ERR_CERT_HAS_EXPIRED => "it has expired".to_owned(),
        _ => "set ca_file in [kafka.tls] to the CA that signed it".to_owned(),
    };
    Some(format!("{broker}: the broker's certificate is refused: {why}: {advice}"))
}
