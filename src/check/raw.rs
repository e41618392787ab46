//! The calls to libcurl and OpenSSL that their crates do not offer. Apart, because with
//! the question of `clock::kernel` it is the only unsafe code of the program; each block says why it
//! is sound.

#![expect(unsafe_code, reason = "calls that have no safe form in the crates")]

use std::ffi::{CStr, c_int, c_long, c_void};
use std::ptr;

use curl::easy::Easy2;
use curl::multi::{Easy2Handle, Multi};
use foreign_types::ForeignType;
use openssl::x509::store::X509Store;

unsafe extern "C" {
    /// OpenSSL 1.1 and later: one more owner of the store. 1 on success.
    fn X509_STORE_up_ref(store: *mut openssl_sys::X509_STORE) -> c_int;
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

/// What libcurl noted of the chain that the server sent, leaf first: for each certificate its
/// `Name:value` lines, as CURLOPT_CERTINFO makes them.
pub fn chain<H>(easy: &Easy2<H>) -> Vec<Vec<Vec<u8>>> {
    let mut info: *mut curl_sys::curl_certinfo = ptr::null_mut();
    let mut chain = Vec::new();
    // SAFETY: CURLINFO_CERTINFO stores a pointer to a struct that the handle owns until its next
    // transfer or its end; nothing happens to the handle while we copy. The struct holds
    // `num_of_certs` lists, each of nodes with a C string, ended by null.
    unsafe {
        let code =
            curl_sys::curl_easy_getinfo(easy.raw(), curl_sys::CURLINFO_CERTINFO, &raw mut info);
        if code != curl_sys::CURLE_OK || info.is_null() || (*info).certinfo.is_null() {
            return chain;
        }
        for i in 0..(*info).num_of_certs.max(0) as usize {
            let mut lines = Vec::new();
            let mut node = *(*info).certinfo.add(i);
            while !node.is_null() {
                if !(*node).data.is_null() {
                    lines.push(CStr::from_ptr((*node).data).to_bytes().to_vec());
                }
                node = (*node).next;
            }
            chain.push(lines);
        }
    }
    chain
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
    let mut count: c_long = 0;
    // SAFETY: CURLINFO_NUM_CONNECTS stores a long.
    let code = unsafe {
        curl_sys::curl_easy_getinfo(easy.raw(), curl_sys::CURLINFO_NUM_CONNECTS, &raw mut count)
    };
    if code == curl_sys::CURLE_OK { count.max(0) as u32 } else { 0 }
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
    let mut errno: c_long = 0;
    // SAFETY: CURLINFO_OS_ERRNO stores a long.
    let code = unsafe {
        curl_sys::curl_easy_getinfo(easy.raw(), curl_sys::CURLINFO_OS_ERRNO, &raw mut errno)
    };
    if code == curl_sys::CURLE_OK { errno as i32 } else { 0 }
}
