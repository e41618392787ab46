//! The calls to libcurl and OpenSSL that their crates do not offer. Apart, because with
//! the question of `clock::kernel` it is the only unsafe code of the program; each block says why it
//! is sound.

#![expect(unsafe_code, reason = "calls that have no safe form in the crates")]

use std::ffi::{CStr, c_int, c_long, c_void};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::{Arc, OnceLock, PoisonError};

use curl::easy::Easy2;
use curl::multi::{Easy2Handle, Multi};
use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::ex_data::Index;
use openssl::ssl::SslContext;
use openssl::stack::StackRef;
use openssl::x509::store::X509Store;
use openssl::x509::{X509, X509VerifyResult};
use socket2::Socket;

use super::certificate::{Seen, Shown};

unsafe extern "C" {
    /// getsockopt(2).
    fn getsockopt(
        socket: c_int,
        level: c_int,
        name: c_int,
        value: *mut c_void,
        length: *mut u32,
    ) -> c_int;
    /// OpenSSL 1.1 and later: one more owner of the store. 1 on success.
    fn X509_STORE_up_ref(store: *mut openssl_sys::X509_STORE) -> c_int;
    /// OpenSSL: verifies chains by `callback`, which gets `argument`.
    fn SSL_CTX_set_cert_verify_callback(
        context: *mut openssl_sys::SSL_CTX,
        callback: Option<extern "C" fn(*mut openssl_sys::X509_STORE_CTX, *mut c_void) -> c_int>,
        argument: *mut c_void,
    );
    /// OpenSSL: what the other side has sent, leaf first.
    fn X509_STORE_CTX_get0_untrusted(
        context: *const openssl_sys::X509_STORE_CTX,
    ) -> *mut openssl_sys::stack_st_X509;
}

/// Unsets the roots that the `curl` crate finds and sets for every handle: they would be parsed
/// anew for each connection. [`lend_store`] gives the connection its roots.
pub fn forget_roots<H>(easy: &Easy2<H>) {
    for option in [curl_sys::CURLOPT_CAINFO, curl_sys::CURLOPT_CAPATH] {
        // SAFETY: the handle is alive for the call, and both options take a pointer to text or
        // null, which unsets them.
        unsafe { curl_sys::curl_easy_setopt(easy.raw(), option, ptr::null::<c_void>()) };
    }
}

/// Keeps the header of a proxy's answer to CONNECT from being taken for the site's.
pub fn hide_proxy_headers<H>(easy: &Easy2<H>) {
    // Of curl/curl.h, not yet in curl-sys.
    const SUPPRESS_CONNECT_HEADERS: curl_sys::CURLoption = 265;
    // SAFETY: the handle is alive for the call, and the option takes a long.
    unsafe { curl_sys::curl_easy_setopt(easy.raw(), SUPPRESS_CONNECT_HEADERS, c_long::from(1)) };
}

/// Lets `multi` look up so many names at once, and go at its end without waiting for lookups
/// that hang: the system's may take half a minute.
pub fn look_up_freely(multi: &Multi, threads: u16) {
    // Of curl/multi.h, not yet in curl-sys; a libcurl that has neither ignores them.
    const RESOLVE_THREADS_MAX: curl_sys::CURLMoption = 20;
    const QUICK_EXIT: curl_sys::CURLMoption = 21;
    for (option, value) in [(RESOLVE_THREADS_MAX, c_long::from(threads)), (QUICK_EXIT, 1)] {
        // SAFETY: the handle is alive for the call, and both options take a long.
        unsafe { curl_sys::curl_multi_setopt(multi.raw(), option, value) };
    }
}

/// Makes `store` the roots of a TLS context. `context` is what libcurl hands to the callback of
/// CURLOPT_SSL_CTX_FUNCTION. False: the store could not be shared.
pub fn lend_store(context: *mut c_void, store: &X509Store) -> bool {
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

/// Has a TLS context show the certificates of its handshakes, also of those that fail, to `seen`.
/// (libcurl's own way, CURLOPT_CERTINFO, writes all of them out as text, an eighth of a check's
/// work.) `context`: as above. False: it could not be done.
pub fn show_chain(context: *mut c_void, seen: &Seen) -> bool {
    /// Where a context keeps its `Seen`, which goes with it.
    static PLACE: OnceLock<Option<Index<SslContext, Seen>>> = OnceLock::new();
    let place = PLACE.get_or_init(|| SslContext::new_ex_index().ok());
    let (Some(place), false) = (place, context.is_null()) else { return false };
    let seen = Box::into_raw(Box::new(Arc::clone(seen)));
    // SAFETY: `context` is an SSL_CTX, as above. The index was made for a `Box` of this type, which
    // OpenSSL drops with the context; `look` gets a pointer to it, and is called in handshakes
    // alone, each of which keeps the context.
    unsafe {
        if openssl_sys::SSL_CTX_set_ex_data(context.cast(), place.as_raw(), seen.cast()) != 1 {
            drop(Box::from_raw(seen));
            return false;
        }
        SSL_CTX_set_cert_verify_callback(context.cast(), Some(look), seen.cast());
    }
    true
}

/// OpenSSL's words for one of its X509_V_ numbers.
pub fn words(code: i32) -> &'static str {
    // SAFETY: any number is taken.
    unsafe { X509VerifyResult::from_raw(code) }.error_string()
}

/// Verifies a chain as OpenSSL would without us, and takes note of it.
extern "C" fn look(context: *mut openssl_sys::X509_STORE_CTX, seen: *mut c_void) -> c_int {
    // SAFETY: OpenSSL gives a context that is ready to be verified, and what was set with this
    // callback: a `Seen` that is alive, as above. The stack of what was sent is the context's; each
    // certificate in it gets one more owner.
    unsafe {
        let verified = openssl_sys::X509_verify_cert(context);
        let sent = X509_STORE_CTX_get0_untrusted(context);
        let certificates = match sent.is_null() {
            true => Vec::new(),
            false => StackRef::<X509>::from_ptr(sent).iter().map(ToOwned::to_owned).collect(),
        };
        let error = openssl_sys::X509_STORE_CTX_get_error(context);
        let depth = openssl_sys::X509_STORE_CTX_get_error_depth(context).max(0) as usize;
        let seen = &*seen.cast_const().cast::<Seen>();
        let shown = Shown { certificates, error, depth };
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        verified
    }
}

/// Connections that are kept for those who share it, and for nobody else. Of one thread.
#[derive(Debug)]
pub struct Pool(*mut curl_sys::CURLSH);

impl Pool {
    /// An empty one. None: no memory.
    pub fn new() -> Option<Pool> {
        const CONNECT: curl_sys::curl_lock_data = curl_sys::CURL_LOCK_DATA_CONNECT;
        // SAFETY: a share is made and told what it holds; only this thread uses it, so it needs no
        // locks.
        unsafe {
            let share = curl_sys::curl_share_init();
            if share.is_null() {
                return None;
            }
            let pool = Pool(share);
            let code = curl_sys::curl_share_setopt(share, curl_sys::CURLSHOPT_SHARE, CONNECT);
            (code == curl_sys::CURLSHE_OK).then_some(pool)
        }
    }

    /// Has a handle keep its connection here, and look for one. The pool must outlive the handle.
    pub fn lend<H>(&self, easy: &Easy2<H>) {
        // SAFETY: both are alive for the call; the caller sees to it that the pool stays so.
        unsafe { curl_sys::curl_easy_setopt(easy.raw(), curl_sys::CURLOPT_SHARE, self.0) };
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: it was made by curl_share_init, and no handle has it any more; one that has is
        // refused, and the share is not freed.
        unsafe { curl_sys::curl_share_cleanup(self.0) };
    }
}

/// How many connections a transfer has opened; 0: it went over one that was kept.
pub fn connects<H>(easy: &Easy2<H>) -> u32 {
    number(easy, curl_sys::CURLINFO_NUM_CONNECTS).max(0) as u32
}

/// Agrees on keys by the curves that all servers know. OpenSSL would send a key of the hybrid with
/// ML-KEM along with each hello, a tenth of a check's work, for secrets that last for decades.
pub fn speak_curves<H>(easy: &Easy2<H>) {
    // Of curl/curl.h, not yet in curl-sys.
    const SSL_EC_CURVES: curl_sys::CURLoption = curl_sys::CURLOPTTYPE_OBJECTPOINT + 298;
    const CURVES: &CStr = c"X25519:P-256:P-384:P-521";
    // SAFETY: the handle is alive for the call, and copies the text.
    unsafe { curl_sys::curl_easy_setopt(easy.raw(), SSL_EC_CURVES, CURVES.as_ptr()) };
}

/// Connects without ALPN: what is spoken then is no HTTP.
pub fn speak_no_http<H>(easy: &Easy2<H>) {
    // Of curl/curl.h, not yet in curl-sys.
    const SSL_ENABLE_ALPN: curl_sys::CURLoption = 226;
    // SAFETY: the handle is alive for the call, and the option takes a long.
    unsafe { curl_sys::curl_easy_setopt(easy.raw(), SSL_ENABLE_ALPN, c_long::from(0)) };
}

/// The socket of a handle that was only to connect.
pub fn socket<H>(handle: &Easy2Handle<H>) -> Option<curl_sys::curl_socket_t> {
    // Of curl/curl.h, not yet in curl-sys: CURLINFO_SOCKET + 44.
    const ACTIVESOCKET: curl_sys::CURLINFO = 0x0050_0000 + 44;
    let mut socket: curl_sys::curl_socket_t = -1;
    // SAFETY: CURLINFO_ACTIVESOCKET stores a socket's number.
    let code = unsafe { curl_sys::curl_easy_getinfo(handle.raw(), ACTIVESOCKET, &raw mut socket) };
    (code == curl_sys::CURLE_OK && socket >= 0).then_some(socket)
}

/// Reads what has come for a handle that was only to connect: how many bytes, 0 at the end; none
/// while there is nothing yet.
///
/// # Errors
/// The connection broke.
pub fn receive<H>(
    handle: &Easy2Handle<H>,
    buffer: &mut [u8],
) -> Result<Option<usize>, curl::Error> {
    let mut count = 0;
    // SAFETY: the handle is alive and still in its multi, which has its connection; at most the
    // buffer's length is written to it.
    let code = unsafe {
        curl_sys::curl_easy_recv(
            handle.raw(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            &raw mut count,
        )
    };
    match code {
        curl_sys::CURLE_OK => Ok(Some(count)),
        curl_sys::CURLE_AGAIN => Ok(None),
        code => Err(curl::Error::new(code)),
    }
}

/// Whether the handle has an error of the system with it, such as ECONNREFUSED; 0 if none.
pub fn os_errno<H>(easy: &Easy2<H>) -> i32 {
    number(easy, curl_sys::CURLINFO_OS_ERRNO) as i32
}

/// Whether something of the request was sent; what a proxy was told before is none of it.
pub fn is_requested<H>(easy: &Easy2<H>) -> bool {
    number(easy, curl_sys::CURLINFO_REQUEST_SIZE) > 0
}

/// What went wrong with a proxy: a `CURLproxycode` of curl/curl.h, 0 if nothing.
pub fn proxy_error<H>(easy: &Easy2<H>) -> c_long {
    // Of curl/curl.h, not yet in curl-sys: CURLINFO_LONG + 59.
    const PROXY_ERROR: curl_sys::CURLINFO = 0x0020_0000 + 59;
    number(easy, PROXY_ERROR)
}

/// A number that is kept of a transfer; 0 if there is none. `info` is one of those that are longs.
fn number<H>(easy: &Easy2<H>, info: curl_sys::CURLINFO) -> c_long {
    let mut number: c_long = 0;
    // SAFETY: such an option stores a long.
    let code = unsafe { curl_sys::curl_easy_getinfo(easy.raw(), info, &raw mut number) };
    if code == curl_sys::CURLE_OK { number } else { 0 }
}

/// Bytes that went over a TCP socket, of either way: `(acknowledged, received)`. Its beginning counts
/// as one that was acknowledged, its end as one that was received. None where the kernel does not
/// tell, as before Linux 4.1 and under emulation.
pub fn traffic(socket: &Socket) -> Option<(u64, u64)> {
    const TCP: c_int = 6;
    const TCP_INFO: c_int = 11;
    /// Of `tcpi_bytes_acked` and `tcpi_bytes_received` in linux/tcp.h's `struct tcp_info`, in words
    /// of 8 bytes, the same on all processors.
    const ACKED: usize = 120 / 8;
    const RECEIVED: usize = 128 / 8;
    let mut info = [0_u64; 32];
    let mut length = size_of_val(&info) as u32;
    // SAFETY: the kernel writes at most `length` bytes, which are there, and sets it to how many.
    let code = unsafe {
        getsockopt(socket.as_raw_fd(), TCP, TCP_INFO, info.as_mut_ptr().cast(), &raw mut length)
    };
    let is_told = code == 0 && length as usize >= (RECEIVED + 1) * 8;
    is_told.then_some((info[ACKED], info[RECEIVED]))
}
