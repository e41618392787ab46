//! Prepares the TLS context of a connection, as libcurl hands it out: sets its roots, and notes its
//! handshake.

#![expect(unsafe_code, reason = "calls that have no safe form in the crates")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::{Arc, OnceLock, PoisonError};

use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::ex_data::Index;
use openssl::ssl::SslContext;
use openssl::stack::StackRef;
use openssl::x509::store::X509Store;
use openssl::x509::{X509, X509VerifyResult};

use crate::check::certificate;
use crate::check::handshake::{Handshake, SharedHandshake, Verification};
use crate::clock;

unsafe extern "C" {
    /// OpenSSL 1.1 and later: adds an owner to the store; returns 1 on success.
    fn X509_STORE_up_ref(store: *mut openssl_sys::X509_STORE) -> c_int;
    /// OpenSSL: verifies chains by `callback`, which gets `argument`.
    fn SSL_CTX_set_cert_verify_callback(
        context: *mut openssl_sys::SSL_CTX,
        callback: Option<extern "C" fn(*mut openssl_sys::X509_STORE_CTX, *mut c_void) -> c_int>,
        argument: *mut c_void,
    );
    /// OpenSSL: returns the certificates that the other side has sent, leaf first.
    fn X509_STORE_CTX_get0_untrusted(
        context: *const openssl_sys::X509_STORE_CTX,
    ) -> *mut openssl_sys::stack_st_X509;
    /// OpenSSL: sets the `callback` that is asked for a client certificate, if a site wants one and none
    /// is set; the callback returns 0 if there is none.
    fn SSL_CTX_set_client_cert_cb(
        context: *mut openssl_sys::SSL_CTX,
        callback: Option<
            extern "C" fn(
                *mut openssl_sys::SSL,
                *mut *mut openssl_sys::X509,
                *mut *mut openssl_sys::EVP_PKEY,
            ) -> c_int,
        >,
    );
    /// OpenSSL: calls `callback` for each step and alert, with its kind and its number.
    fn SSL_CTX_set_info_callback(
        context: *mut openssl_sys::SSL_CTX,
        callback: Option<extern "C" fn(*const openssl_sys::SSL, c_int, c_int)>,
    );
    /// OpenSSL: asks `callback` for the password of a key, with `argument`.
    fn SSL_CTX_set_default_passwd_cb(
        context: *mut openssl_sys::SSL_CTX,
        callback: openssl_sys::pem_password_cb,
    );
    fn SSL_CTX_set_default_passwd_cb_userdata(
        context: *mut openssl_sys::SSL_CTX,
        argument: *mut c_void,
    );
    /// OpenSSL: returns the words for an alert, as static text.
    fn SSL_alert_desc_string_long(number: c_int) -> *const c_char;
}

/// Makes `store` the roots of a TLS context. `context` is the pointer that libcurl hands to the callback
/// of CURLOPT_SSL_CTX_FUNCTION. Returns false if the store could not be shared.
pub fn set_roots(context: *mut c_void, store: &X509Store) -> bool {
    if context.is_null() {
        return false;
    }
    // SAFETY: libcurl's contract for the callback is that `context` is the connection's
    // SSL_CTX, of the OpenSSL that is linked once into this program. The store is alive; the
    // context becomes one more owner of it, which the count raised before stands for.
    unsafe {
        if X509_STORE_up_ref(store.as_ptr()) != 1 {
            return false;
        }
        openssl_sys::SSL_CTX_set_cert_store(context.cast(), store.as_ptr());
    }
    true
}

/// Lets a TLS context speak with sites that do not know secure renegotiation (RFC 5746).
/// `context`: as above.
pub fn allow_legacy_renegotiation(context: *mut c_void) {
    if context.is_null() {
        return;
    }
    // SAFETY: `context` is an SSL_CTX, as above.
    unsafe {
        openssl_sys::SSL_CTX_set_options(
            context.cast(),
            openssl_sys::SSL_OP_LEGACY_SERVER_CONNECT as _,
        );
    }
}

/// Index in OpenSSL's extra data of a context, under which its `SharedHandshake` lies. The handshake is
/// freed with the context, or by [`clear`].
static PLACE: OnceLock<Option<Index<SslContext, SharedHandshake>>> = OnceLock::new();

/// Makes a TLS context note its handshakes, also those that fail. (libcurl's own option for certificates,
/// CURLOPT_CERTINFO, writes all of them out as text, which is an eighth of a check's work.)
/// `context`: as above. Returns false if the context cannot keep the notes.
pub fn record_handshake(context: *mut c_void, handshake: &SharedHandshake) -> bool {
    let place = PLACE.get_or_init(|| SslContext::new_ex_index().ok());
    let (Some(place), false) = (place, context.is_null()) else { return false };
    let handshake = Box::into_raw(Box::new(Arc::clone(handshake)));
    // SAFETY: `context` is an SSL_CTX, as above. The index was made for a `Box` of this type, which
    // OpenSSL drops with the context; the callbacks find it by the index, and are called in
    // handshakes and reads alone, each of which keeps the context.
    unsafe {
        let context = context.cast();
        if openssl_sys::SSL_CTX_set_ex_data(context, place.as_raw(), handshake.cast()) != 1 {
            drop(Box::from_raw(handshake));
            return false;
        }
        SSL_CTX_set_cert_verify_callback(context, Some(verify), ptr::null_mut());
        SSL_CTX_set_client_cert_cb(context, Some(note_certificate_request));
        SSL_CTX_set_info_callback(context, Some(note_alert));
    }
    true
}

/// Undoes the settings that the functions here and libcurl have made in a TLS context, so that another
/// connection can use it. Settings that libcurl makes anew each time (versions, groups, modes) stay. Returns
/// false if there is no memory; then the context cannot be used again.
///
/// # Safety
/// `context` is an SSL_CTX that no connection uses.
pub unsafe fn clear(context: *mut openssl_sys::SSL_CTX) -> bool {
    // SAFETY: the context is alive, by the caller's word, and takes the new store over. Under the index lies
    // null, or the `Box` that `record_handshake` put there, whose callbacks go before it.
    unsafe {
        let store = openssl_sys::X509_STORE_new();
        if store.is_null() {
            return false;
        }
        openssl_sys::SSL_CTX_set_cert_store(context, store);
        SSL_CTX_set_cert_verify_callback(context, None, ptr::null_mut());
        SSL_CTX_set_client_cert_cb(context, None);
        SSL_CTX_set_info_callback(context, None);
        if let Some(Some(place)) = PLACE.get() {
            let handshake = openssl_sys::SSL_CTX_get_ex_data(context, place.as_raw());
            openssl_sys::SSL_CTX_set_ex_data(context, place.as_raw(), ptr::null_mut());
            if !handshake.is_null() {
                drop(Box::from_raw(handshake.cast::<SharedHandshake>()));
            }
        }
        // The password of the key lies in a handle that may be gone.
        SSL_CTX_set_default_passwd_cb(context, None);
        SSL_CTX_set_default_passwd_cb_userdata(context, ptr::null_mut());
        openssl_sys::SSL_CTX_clear_options(context, !0);
        openssl_sys::SSL_CTX_set_options(context, FIRST_OPTIONS);
    }
    true
}

/// Options that OpenSSL gives to a new context.
const FIRST_OPTIONS: u64 =
    openssl_sys::SSL_OP_NO_COMPRESSION | openssl_sys::SSL_OP_ENABLE_MIDDLEBOX_COMPAT;

/// Changes the notes of a connection's handshake.
///
/// # Safety
/// `ssl` is null or a connection that is alive.
unsafe fn note(ssl: *const openssl_sys::SSL, change: impl FnOnce(&mut Handshake)) {
    let Some(Some(place)) = PLACE.get() else { return };
    if ssl.is_null() {
        return;
    }
    // SAFETY: a connection keeps its context, and under that index lies what `record_handshake` put
    // there, or nothing.
    let handshake = unsafe {
        let context = openssl_sys::SSL_get_SSL_CTX(ssl);
        openssl_sys::SSL_CTX_get_ex_data(context, place.as_raw()).cast::<SharedHandshake>().as_ref()
    };
    if let Some(handshake) = handshake {
        change(&mut handshake.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Returns OpenSSL's words for one of its X509_V_ numbers.
pub fn words(code: i32) -> &'static str {
    // SAFETY: any number is taken.
    unsafe { X509VerifyResult::from_raw(code) }.error_string()
}

/// Returns OpenSSL's words for an alert that a site sent.
pub fn alert_words(number: u8) -> &'static str {
    // SAFETY: any number is taken, and the text is static.
    let text = unsafe { CStr::from_ptr(SSL_alert_desc_string_long(c_int::from(number))) };
    text.to_str().unwrap_or_default()
}

/// Verifies a chain as OpenSSL would without us, unless the same one was verified before. Refuses a leaf that
/// has no names: libcurl would take its common name. Notes the path.
extern "C" fn verify(context: *mut openssl_sys::X509_STORE_CTX, _: *mut c_void) -> c_int {
    // SAFETY: OpenSSL gives a context that is ready to be verified, of a connection that is alive, and the
    // certificates sent are the context's.
    unsafe {
        let index = openssl_sys::SSL_get_ex_data_X509_STORE_CTX_idx();
        let ssl = openssl_sys::X509_STORE_CTX_get_ex_data(context, index).cast();
        let sent = X509_STORE_CTX_get0_untrusted(context);
        let sent = (!sent.is_null()).then(|| StackRef::<X509>::from_ptr(sent));
        let mut chains = None;
        note(ssl, |handshake| chains = handshake.chains.clone());
        let chains = chains.zip(sent);
        let now_s = clock::now_ms().div_euclid(1000);
        let known = chains.as_ref().and_then(|(chains, sent)| chains.find(sent, now_s));
        let is_known = known.is_some();
        let verification = match known {
            Some(path) => {
                openssl_sys::X509_STORE_CTX_set_error(context, openssl_sys::X509_V_OK);
                Verification { path, error: openssl_sys::X509_V_OK, depth: 0 }
            }
            None => verify_anew(context, sent),
        };
        let is_good = verification.error == openssl_sys::X509_V_OK;
        if let (Some((chains, sent)), true) = (&chains, is_good && !is_known) {
            chains.insert(sent, &verification.path);
        }
        note(ssl, |handshake| handshake.verification = Some(verification));
        c_int::from(is_good)
    }
}

/// Makes OpenSSL verify a chain, and returns the path, or the chain that was `sent` if there is no path.
///
/// # Safety
/// `context` is ready to be verified; `sent` is its own.
unsafe fn verify_anew(
    context: *mut openssl_sys::X509_STORE_CTX,
    sent: Option<&StackRef<X509>>,
) -> Verification {
    // SAFETY: the caller's word. The path is the context's; each certificate of it gets one more owner.
    unsafe {
        let is_verified = openssl_sys::X509_verify_cert(context) == 1;
        let found = openssl_sys::X509_STORE_CTX_get0_chain(context);
        let found = if found.is_null() { sent } else { Some(StackRef::from_ptr(found)) };
        let path: Vec<X509> = found.into_iter().flatten().map(ToOwned::to_owned).collect();
        let mut depth = openssl_sys::X509_STORE_CTX_get_error_depth(context).max(0) as usize;
        if is_verified && path.first().is_some_and(|leaf| !certificate::has_names(leaf)) {
            let error = openssl_sys::X509_V_ERR_HOSTNAME_MISMATCH;
            openssl_sys::X509_STORE_CTX_set_error(context, error);
            depth = 0;
        }
        let error = match openssl_sys::X509_STORE_CTX_get_error(context) {
            openssl_sys::X509_V_OK if !is_verified => openssl_sys::X509_V_ERR_UNSPECIFIED,
            error => error,
        };
        Verification { path, error, depth }
    }
}

/// Notes that a site asks for a client certificate and there is none for it.
extern "C" fn note_certificate_request(
    ssl: *mut openssl_sys::SSL,
    _: *mut *mut openssl_sys::X509,
    _: *mut *mut openssl_sys::EVP_PKEY,
) -> c_int {
    // SAFETY: OpenSSL gives the connection that is in its handshake.
    unsafe { note(ssl, |handshake| handshake.lacks_certificate = true) };
    0
}

/// Notes a fatal alert that a site sends; other alerts do not end the connection.
extern "C" fn note_alert(ssl: *const openssl_sys::SSL, what: c_int, value: c_int) {
    // Of openssl/ssl.h, not in openssl-sys.
    const READ_ALERT: c_int = 0x4000 | 0x04;
    // The level is in the higher byte.
    const FATAL: c_int = 2;
    if what == READ_ALERT && value >> 8 == FATAL {
        // SAFETY: OpenSSL gives the connection that reads.
        unsafe { note(ssl, |handshake| handshake.alert = Some((value & 0xff) as u8)) };
    }
}
