//! Keeps TLS contexts for the next connection. libcurl makes one for each connection (`SSL_CTX_new`); for
//! that, OpenSSL looks up every cipher, digest, group and signature algorithm, which takes a seventh of the
//! CPU time of an HTTPS check.
//!
//! `cross/tools/sitewatch-libcurl.h` makes libcurl call the two functions here instead of OpenSSL's. A
//! context belongs to one connection at a time. The next connection gets it as OpenSSL made it: with the
//! first options, an empty store and no callback of ours. A context with a client certificate is freed. A
//! build without that header works too, and takes more CPU time.

#![expect(
    unsafe_code,
    reason = "functions that C calls, and calls that have no safe form in the crates"
)]

use std::ptr;
use std::sync::{Mutex, PoisonError};

use openssl_sys::{SSL_CTX, SSL_METHOD, X509};

use super::context::clear;

/// Contexts that no connection uses; the one that was added last is taken first.
static IDLE: Mutex<Vec<IdleContext>> = Mutex::new(Vec::new());
/// Most idle contexts, of some 12 KiB each; a further one is freed.
const IDLE_MAX: usize = 16;

/// A context that no connection uses.
struct IdleContext {
    context: *mut SSL_CTX,
    method: *const SSL_METHOD,
}

// SAFETY: any thread may use a context, one thread at a time. The list owns its contexts.
unsafe impl Send for IdleContext {}

unsafe extern "C" {
    /// OpenSSL 1.1.1 and later: returns the client certificate of the context, or null.
    fn SSL_CTX_get0_certificate(context: *const SSL_CTX) -> *mut X509;
    /// OpenSSL 3: returns the method that the context was made with.
    fn SSL_CTX_get_ssl_method(context: *const SSL_CTX) -> *const SSL_METHOD;
}

/// Replaces `SSL_CTX_new` in libcurl. Returns an idle context or a new one; null without memory.
///
/// # Safety
/// `method` comes from OpenSSL.
#[unsafe(no_mangle)]
unsafe extern "C" fn sitewatch_ssl_ctx_new(method: *const SSL_METHOD) -> *mut SSL_CTX {
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(at) = idle.iter().rposition(|idle| ptr::eq(idle.method, method)) {
        return idle.swap_remove(at).context;
    }
    drop(idle);
    // SAFETY: as the caller promises.
    unsafe { openssl_sys::SSL_CTX_new(method) }
}

/// Replaces `SSL_CTX_free` in libcurl, which frees the connection of the context before. Keeps the context
/// for the next connection, or frees it.
///
/// # Safety
/// `context` is null, or came from [`sitewatch_ssl_ctx_new`] and is not used after this call.
#[unsafe(no_mangle)]
unsafe extern "C" fn sitewatch_ssl_ctx_free(context: *mut SSL_CTX) {
    if context.is_null() {
        return;
    }
    // SAFETY: the context is alive, and only the caller uses it.
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

    /// Lets one test run at a time: all tests of this process share the contexts.
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
    fn libcurl_leaves_its_contexts_here() {
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
        // 0 each, if C was compiled without `-include sitewatch-libcurl.h`.
        assert_eq!(counts, [1, 1]);
    }

    #[test]
    fn the_next_connection_gets_a_context_as_openssl_made_it() {
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
    fn a_context_with_a_client_certificate_is_freed() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let before = idle();
        let mut builder = SslContextBuilder::new(SslMethod::tls_client()).unwrap();
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
        builder.set_certificate(&openssl::x509::X509::from_der(&roots[0]).unwrap()).unwrap();
        let context = builder.build();
        // SAFETY: `sitewatch_ssl_ctx_free` releases the reference that `SSL_CTX_up_ref` adds.
        unsafe {
            openssl_sys::SSL_CTX_up_ref(context.as_ptr());
            sitewatch_ssl_ctx_free(context.as_ptr());
        }
        assert_eq!(idle(), before);
        // SAFETY: null is allowed.
        unsafe { sitewatch_ssl_ctx_free(ptr::null_mut()) };
    }
}
