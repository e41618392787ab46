//! Prepares TLS by libpq's `sslmode`: the roots that are trusted, and our own certificate.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::X509VerifyResult;
use openssl::x509::store::X509StoreBuilder;
use openssl_sys::{
    X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH,
};
use postgres_openssl::{MakeTlsConnector, set_postgresql_alpn};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslNegotiation};

use super::error::PostgresError;
use crate::config::{Dsn, SslMode};
use crate::error::{Context, Error};
use crate::roots;

/// Makes the TLS connector for each try to connect, and knows why the last certificate was refused.
pub struct Connector {
    tls: MakeTlsConnector,
    refused: Arc<Mutex<Option<X509VerifyResult>>>,
}

impl Connector {
    /// Makes the connector that `dsn` asks for. Files are read now, so that new ones count from the next
    /// connection on.
    pub fn new(dsn: &Dsn) -> Result<Connector, PostgresError> {
        let refused = Arc::new(Mutex::new(None));
        let tls = tls(dsn, &refused).map_err(|error| PostgresError::away(error.to_string()))?;
        Ok(Connector { tls, refused })
    }

    /// Returns the connector for one try.
    pub fn tls(&self) -> MakeTlsConnector {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.tls.clone()
    }

    /// Replaces an error's reason by the fault of the server's certificate, if that was the cause.
    pub fn explain(&self, config: &Config, error: PostgresError) -> PostgresError {
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(refused) = refused else { return error };
        let why = match refused.as_raw() {
            X509_V_ERR_HOSTNAME_MISMATCH | X509_V_ERR_IP_ADDRESS_MISMATCH => {
                let name = match config.get_hosts().first() {
                    Some(Host::Tcp(name)) => name,
                    _ => "the one asked for",
                };
                format!("its certificate is for another name than {name}")
            }
            X509_V_ERR_CERT_HAS_EXPIRED => "its certificate has expired".to_owned(),
            _ => {
                let words = refused.error_string();
                format!("its certificate is not trusted: {words}; sslrootcert names its CA")
            }
        };
        PostgresError { why, ..error }
    }
}

fn tls(
    dsn: &Dsn,
    refused: &Arc<Mutex<Option<X509VerifyResult>>>,
) -> Result<MakeTlsConnector, Error> {
    let mut builder = SslConnector::builder(SslMethod::tls()).cannot("prepare TLS")?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2)).cannot("prepare TLS")?;
    if dsn.config.get_ssl_negotiation() == SslNegotiation::Direct {
        set_postgresql_alpn(&mut builder).cannot("prepare TLS")?;
    }
    let full = dsn.ssl_mode == SslMode::VerifyFull;
    if full || dsn.ssl_mode == SslMode::VerifyCa {
        trust_roots(&mut builder, dsn)?;
        let refused = Arc::clone(refused);
        builder.set_verify_callback(SslVerifyMode::PEER, move |is_good, context| {
            if !is_good {
                let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
                *refused = Some(context.error());
            }
            is_good
        });
    } else {
        builder.set_verify(SslVerifyMode::NONE);
    }
    // With TLS switched off no certificate is needed.
    if dsn.ssl_mode != SslMode::Disable {
        present_certificate(&mut builder, dsn)?;
    }
    let mut tls = MakeTlsConnector::new(builder.build());
    tls.set_callback(move |connection, _| {
        connection.set_verify_hostname(full);
        Ok(())
    });
    Ok(tls)
}

/// Trusts only the roots of `sslrootcert`, or those of the host if it is not set.
fn trust_roots(builder: &mut SslConnectorBuilder, dsn: &Dsn) -> Result<(), Error> {
    let mut store = X509StoreBuilder::new().cannot("prepare TLS")?;
    for root in roots::load(dsn.root_cert.as_deref())? {
        store.add_cert(root).cannot("prepare TLS")?;
    }
    builder.set_cert_store(store.build());
    Ok(())
}

/// Presents our own certificate to the server, if there is one.
fn present_certificate(builder: &mut SslConnectorBuilder, dsn: &Dsn) -> Result<(), Error> {
    let (Some(cert), Some(key)) = (&dsn.cert, &dsn.key) else { return Ok(()) };
    let what = || format!("use the certificate {}", cert.display());
    builder
        .set_certificate_chain_file(cert)
        .map_err(|error| openssl_reason(&error))
        .cannot(what())?;
    let what = || format!("use the key {}", key.display());
    let pem = fs::read(key).cannot(what())?;
    let private = private_key(&pem, dsn.key_password.as_deref()).cannot(what())?;
    let fits = builder.set_private_key(&private).and_then(|()| builder.check_private_key());
    fits.map_err(|error| match openssl_reason(&error).as_str() {
        "key values mismatch" | "key type mismatch" => "it is not the certificate's".to_owned(),
        other => other.to_owned(),
    })
    .cannot(what())
}

fn private_key(pem: &[u8], password: Option<&str>) -> Result<PKey<Private>, String> {
    let asked = std::cell::Cell::new(false);
    let key = PKey::private_key_from_pem_callback(pem, |buffer| {
        asked.set(true);
        let password = password.unwrap_or_default().as_bytes();
        let count = password.len().min(buffer.len());
        buffer[..count].copy_from_slice(&password[..count]);
        Ok(count)
    });
    key.map_err(|error| match (asked.get(), password) {
        (true, None) => "it is encrypted; sslpassword opens it".to_owned(),
        (true, Some(_)) => "sslpassword does not open it".to_owned(),
        (false, _) => openssl_reason(&error),
    })
}

/// Returns OpenSSL's own words for the first error.
fn openssl_reason(stack: &openssl::error::ErrorStack) -> String {
    let reason = stack.errors().first().and_then(openssl::error::Error::reason);
    reason.unwrap_or("it cannot be read").to_owned()
}
