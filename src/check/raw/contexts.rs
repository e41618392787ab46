//! TLS contexts, kept for the next connection. To make one (`SSL_CTX_new`) OpenSSL looks up every cipher,
//! digest, group and signature algorithm, which is a seventh of an HTTPS check's work, and libcurl makes one
//! for each connection.
//!
//! `cross/tools/sitewatch-libcurl.h` has libcurl call the two functions here instead of OpenSSL's own. A
//! context belongs to one connection at a time, and is handed on as OpenSSL made it: options and versions
//! as they were, an empty store, no callback of ours. One that held a client certificate is not kept. A
//! build without that header works the same, and costs more.

#![expect(
    unsafe_code,
    reason = "functions that C calls, and calls that have no safe form in the crates"
)]

use std::ptr;
use std::sync::{Mutex, PoisonError};

use openssl_sys::{SSL_CTX, SSL_METHOD, X509};

use super::context::clear;

/// Contexts that wait for a connection; the newest is taken first.
static IDLE: Mutex<Vec<IdleContext>> = Mutex::new(Vec::new());
/// Keep at most this many contexts idle, some 12 KiB each.
const IDLE_MAX: usize = 16;

/// A context that no connection has.
struct IdleContext {
    context: *mut SSL_CTX,
    method: *const SSL_METHOD,
}

// SAFETY: a context may be used by any thread, by one at a time; the list owns those in it.
unsafe impl Send for IdleContext {}

unsafe extern "C" {
    /// OpenSSL 1.1.1 and later: the certificate that the context shows, or null.
    fn SSL_CTX_get0_certificate(context: *const SSL_CTX) -> *mut X509;
    /// OpenSSL 3: the method that the context was made for.
    fn SSL_CTX_get_ssl_method(context: *const SSL_CTX) -> *const SSL_METHOD;
}

/// Stands in for `SSL_CTX_new` in libcurl: an idle context, or a new one. Null: no memory.
///
/// # Safety
/// `method` is one of OpenSSL's.
#[unsafe(no_mangle)]
unsafe extern "C" fn sitewatch_ssl_ctx_new(method: *const SSL_METHOD) -> *mut SSL_CTX {
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(at) = idle.iter().rposition(|idle| ptr::eq(idle.method, method)) {
        return idle.swap_remove(at).context;
    }
    drop(idle);
    // SAFETY: the caller's word.
    unsafe { openssl_sys::SSL_CTX_new(method) }
}

/// Stands in for `SSL_CTX_free` in libcurl, which has freed the context's one connection before: keeps the
/// context for the next one, or frees it.
///
/// # Safety
/// `context` is null, or came from [`sitewatch_ssl_ctx_new`] and is not used after.
#[unsafe(no_mangle)]
unsafe extern "C" fn sitewatch_ssl_ctx_free(context: *mut SSL_CTX) {
    if context.is_null() {
        return;
    }
    // SAFETY: the context is alive and the caller's alone.
    unsafe {
        let method = SSL_CTX_get_ssl_method(context);
        let is_fit = SSL_CTX_get0_certificate(context).is_null() && clear(context);
        if is_fit {
            let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_MAX {
                idle.push(IdleContext { context, method });
                return;
            }
        }
        openssl_sys::SSL_CTX_free(context);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::thread;

    use curl::easy::Easy;
    use foreign_types::ForeignType;
    use openssl::ssl::{SslContextBuilder, SslMethod};

    use super::*;
    use crate::check::handshake::SharedHandshake;

    /// The contexts are all tests' of this process: one at a time.
    static ALONE: Mutex<()> = Mutex::new(());

    fn idle() -> usize {
        IDLE.lock().unwrap().len()
    }

    fn free_all() {
        // SAFETY: the list owns them.
        IDLE.lock()
            .unwrap()
            .drain(..)
            .for_each(|i| unsafe { openssl_sys::SSL_CTX_free(i.context) });
    }

    #[test]
    fn libcurl_hands_its_contexts_over() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        free_all();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // Every handshake breaks off.
        thread::spawn(move || listener.incoming().for_each(drop));
        let mut counts = Vec::new();
        for _ in 0..2 {
            let mut easy = Easy::new();
            easy.url(&format!("https://127.0.0.1:{port}/")).unwrap();
            easy.perform().unwrap_err();
            drop(easy);
            counts.push(idle());
        }
        // None, where C was compiled without `-include sitewatch-libcurl.h`.
        assert_eq!(counts, [1, 1]);
    }

    #[test]
    fn a_context_is_handed_on_as_it_was_made() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let method = SslMethod::tls_client().as_ptr();
        // SAFETY: contexts are made, changed and freed by their one owner.
        unsafe {
            let context = sitewatch_ssl_ctx_new(method);
            let options = openssl_sys::SSL_CTX_get_options(context);
            let seen = SharedHandshake::default();
            assert!(super::super::context::record_handshake(context.cast(), &seen));
            openssl_sys::SSL_CTX_set_options(context, openssl_sys::SSL_OP_NO_TLSv1_3);
            let store = openssl_sys::SSL_CTX_get_cert_store(context);
            openssl_sys::X509_STORE_set_default_paths(store);
            assert_eq!(Arc::strong_count(&seen), 2);
            sitewatch_ssl_ctx_free(context);
            assert_eq!(Arc::strong_count(&seen), 1, "what was seen is let go");
            let again = sitewatch_ssl_ctx_new(method);
            assert_eq!(again, context);
            assert_eq!(openssl_sys::SSL_CTX_get_options(again), options);
            sitewatch_ssl_ctx_free(again);
        }
    }

    #[test]
    fn who_showed_a_certificate_is_not_kept() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let before = idle();
        let mut builder = SslContextBuilder::new(SslMethod::tls_client()).unwrap();
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
        builder.set_certificate(&openssl::x509::X509::from_der(&roots[0]).unwrap()).unwrap();
        let context = builder.build();
        // SAFETY: one more owner, who is freed.
        unsafe {
            openssl_sys::SSL_CTX_up_ref(context.as_ptr());
            sitewatch_ssl_ctx_free(context.as_ptr());
        }
        assert_eq!(idle(), before);
        // SAFETY: null is taken, as OpenSSL takes it.
        unsafe { sitewatch_ssl_ctx_free(ptr::null_mut()) };
    }
}
