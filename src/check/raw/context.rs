//! Prepares the TLS context of a connection that libcurl opens: sets the roots, and notes the handshake.

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
    /// OpenSSL: sets the `callback` that verifies chains; it gets `argument`.
    fn SSL_CTX_set_cert_verify_callback(
        context: *mut openssl_sys::SSL_CTX,
        callback: Option<extern "C" fn(*mut openssl_sys::X509_STORE_CTX, *mut c_void) -> c_int>,
        argument: *mut c_void,
    );
    /// OpenSSL: returns the certificates that the other side has sent, leaf first.
    fn X509_STORE_CTX_get0_untrusted(
        context: *const openssl_sys::X509_STORE_CTX,
    ) -> *mut openssl_sys::stack_st_X509;
    /// OpenSSL: sets the `callback` that is called if a site wants a client certificate and none is set. The
    /// callback returns 0 if it has none either.
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
    /// OpenSSL: sets the `callback` for all steps and alerts of a connection; it gets their kind and number.
    fn SSL_CTX_set_info_callback(
        context: *mut openssl_sys::SSL_CTX,
        callback: Option<extern "C" fn(*const openssl_sys::SSL, c_int, c_int)>,
    );
    /// OpenSSL: sets the `callback` that returns the password of a key.
    fn SSL_CTX_set_default_passwd_cb(
        context: *mut openssl_sys::SSL_CTX,
        callback: openssl_sys::pem_password_cb,
    );
    /// OpenSSL: sets the argument of the callback for passwords.
    fn SSL_CTX_set_default_passwd_cb_userdata(
        context: *mut openssl_sys::SSL_CTX,
        argument: *mut c_void,
    );
    /// OpenSSL: returns the text of an alert, which is static.
    fn SSL_alert_desc_string_long(number: c_int) -> *const c_char;
}

/// Sets the roots of a TLS context. `context` is the pointer that libcurl hands to the callback of
/// CURLOPT_SSL_CTX_FUNCTION. Returns false if OpenSSL cannot share the store.
pub fn set_roots(context: *mut c_void, store: &X509Store) -> bool {
    if context.is_null() {
        return false;
    }
    // SAFETY: by libcurl's contract, `context` is the SSL_CTX of the connection, made by the one OpenSSL that
    // is linked into this program. The store is alive. The context becomes another owner of the store: its
    // count is raised first.
    unsafe {
        if X509_STORE_up_ref(store.as_ptr()) != 1 {
            return false;
        }
        openssl_sys::SSL_CTX_set_cert_store(context.cast(), store.as_ptr());
    }
    true
}

/// Lets a TLS context connect to sites that do not know secure renegotiation (RFC 5746). `context`: as in
/// [`set_roots`].
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

/// Index of the `SharedHandshake` in the extra data that OpenSSL keeps for a context. The handshake is freed
/// with the context, or by [`clear`].
static INDEX: OnceLock<Option<Index<SslContext, SharedHandshake>>> = OnceLock::new();

/// Makes a TLS context note its handshake in `handshake`, even if that fails. `context`: as in [`set_roots`].
/// Returns false if the context cannot keep the notes. (libcurl has an option for certificates,
/// CURLOPT_CERTINFO, but it writes all of them as text, which takes an eighth of a check's CPU time.)
pub fn record_handshake(context: *mut c_void, handshake: &SharedHandshake) -> bool {
    let index = INDEX.get_or_init(|| SslContext::new_ex_index().ok());
    let (Some(index), false) = (index, context.is_null()) else { return false };
    let handshake = Box::into_raw(Box::new(Arc::clone(handshake)));
    // SAFETY: `context` is an SSL_CTX, as above. The index was made for a `Box` of this type, which OpenSSL
    // drops with the context. The callbacks find it by the index; they are called only in handshakes and
    // reads, during which the context is alive.
    unsafe {
        let context = context.cast();
        if openssl_sys::SSL_CTX_set_ex_data(context, index.as_raw(), handshake.cast()) != 1 {
            drop(Box::from_raw(handshake));
            return false;
        }
        SSL_CTX_set_cert_verify_callback(context, Some(verify), ptr::null_mut());
        SSL_CTX_set_client_cert_cb(context, Some(note_certificate_request));
        SSL_CTX_set_info_callback(context, Some(note_alert));
    }
    true
}

/// Undoes the settings that libcurl and this module made in a TLS context, so that another connection can use
/// the context. Settings that libcurl makes for every connection (versions, groups, modes) stay. Returns
/// false if there is not enough memory: then do not use the context again.
///
/// # Safety
/// `context` is an SSL_CTX that no connection uses.
pub unsafe fn clear(context: *mut openssl_sys::SSL_CTX) -> bool {
    // SAFETY: the caller promises that the context is alive; it becomes the owner of the new store. At the
    // index is null, or the `Box` that `record_handshake` put there; the callbacks that use it are removed
    // first.
    unsafe {
        let store = openssl_sys::X509_STORE_new();
        if store.is_null() {
            return false;
        }
        openssl_sys::SSL_CTX_set_cert_store(context, store);
        SSL_CTX_set_cert_verify_callback(context, None, ptr::null_mut());
        SSL_CTX_set_client_cert_cb(context, None);
        SSL_CTX_set_info_callback(context, None);
        if let Some(Some(index)) = INDEX.get() {
            let handshake = openssl_sys::SSL_CTX_get_ex_data(context, index.as_raw());
            openssl_sys::SSL_CTX_set_ex_data(context, index.as_raw(), ptr::null_mut());
            if !handshake.is_null() {
                drop(Box::from_raw(handshake.cast::<SharedHandshake>()));
            }
        }
        // The password of the key belongs to a handle that may be gone.
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

/// Changes the notes of a connection's handshake by `change`; does nothing if there are no notes.
///
/// # Safety
/// `ssl` is null or a connection that is alive.
unsafe fn note(ssl: *const openssl_sys::SSL, change: impl FnOnce(&mut Handshake)) {
    let Some(Some(index)) = INDEX.get() else { return };
    if ssl.is_null() {
        return;
    }
    // SAFETY: a connection keeps its context alive. At the index is what `record_handshake` put there, or
    // null.
    let handshake = unsafe {
        let context = openssl_sys::SSL_get_SSL_CTX(ssl);
        openssl_sys::SSL_CTX_get_ex_data(context, index.as_raw()).cast::<SharedHandshake>().as_ref()
    };
    if let Some(handshake) = handshake {
        change(&mut handshake.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Returns OpenSSL's text for one of its X509_V_ numbers.
pub fn words(code: i32) -> &'static str {
    // SAFETY: any number is taken.
    unsafe { X509VerifyResult::from_raw(code) }.error_string()
}

/// Returns OpenSSL's text for the number of an alert.
pub fn alert_words(number: u8) -> &'static str {
    // SAFETY: any number is taken, and the text is static.
    let text = unsafe { CStr::from_ptr(SSL_alert_desc_string_long(c_int::from(number))) };
    text.to_str().unwrap_or_default()
}

/// Verifies a chain as OpenSSL does, unless the same chain was verified before, and records the certificates
/// from the leaf to the root. Refuses a leaf without names, for which libcurl would accept the common name.
extern "C" fn verify(context: *mut openssl_sys::X509_STORE_CTX, _: *mut c_void) -> c_int {
    // SAFETY: OpenSSL passes a context that is ready to be verified, of a connection that is alive. The
    // certificates that the site has sent belong to the context.
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

/// Lets OpenSSL verify a chain. Returns the path, or the chain that was `sent` if OpenSSL found no path.
///
/// # Safety
/// `context` is ready to be verified, and `sent` belongs to it.
unsafe fn verify_anew(
    context: *mut openssl_sys::X509_STORE_CTX,
    sent: Option<&StackRef<X509>>,
) -> Verification {
    // SAFETY: as the caller promises. The path belongs to the context; the copies of its certificates are
    // further owners.
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

/// Notes that the site asks for a client certificate, and that the target has none.
extern "C" fn note_certificate_request(
    ssl: *mut openssl_sys::SSL,
    _: *mut *mut openssl_sys::X509,
    _: *mut *mut openssl_sys::EVP_PKEY,
) -> c_int {
    // SAFETY: OpenSSL passes the connection that is in its handshake.
    unsafe { note(ssl, |handshake| handshake.lacks_certificate = true) };
    0
}

/// Notes a fatal alert of the site. Other alerts do not end the connection.
extern "C" fn note_alert(ssl: *const openssl_sys::SSL, what: c_int, value: c_int) {
    // From openssl/ssl.h, not in openssl-sys.
    const READ_ALERT: c_int = 0x4000 | 0x04;
    // The level is in the higher byte.
    const FATAL: c_int = 2;
    if what == READ_ALERT && value >> 8 == FATAL {
        // SAFETY: OpenSSL passes the connection that has read the alert.
        unsafe { note(ssl, |handshake| handshake.alert = Some((value & 0xff) as u8)) };
    }
}
