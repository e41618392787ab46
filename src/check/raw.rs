//! Calls libcurl and OpenSSL where their crates offer no call. All unsafe code of the program is here and in
//! `clock::kernel`; each block says why it is sound.

#![expect(unsafe_code, reason = "calls that have no safe form in the crates")]

mod context;
mod contexts;
mod single;

use std::ffi::{CStr, c_int, c_long, c_void};
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use curl::easy::Easy2;
use curl::multi::{Easy2Handle, Multi};
use socket2::{SockRef, Socket};

pub use context::{alert_words, allow_legacy_renegotiation, record_handshake, set_roots, words};
pub use single::SingleRequest;

unsafe extern "C" {
    /// getsockopt(2).
    fn getsockopt(
        socket: c_int,
        level: c_int,
        name: c_int,
        value: *mut c_void,
        length: *mut u32,
    ) -> c_int;
}

/// Unsets the roots that the `curl` crate finds and sets for every handle: they would be parsed
/// for each connection. [`set_roots`] gives the connection its roots.
pub fn unset_default_roots<H>(easy: &Easy2<H>) {
    for option in [curl_sys::CURLOPT_CAINFO, curl_sys::CURLOPT_CAPATH] {
        // SAFETY: the handle is alive for the call, and both options take a pointer to text or
        // null, which unsets them.
        unsafe { curl_sys::curl_easy_setopt(easy.raw(), option, ptr::null::<c_void>()) };
    }
}

/// Hides the header of a proxy's answer to CONNECT, which would be taken for the header of the site.
pub fn hide_proxy_headers<H>(easy: &Easy2<H>) {
    // From curl/curl.h, not yet in curl-sys.
    const SUPPRESS_CONNECT_HEADERS: curl_sys::CURLoption = 265;
    // SAFETY: the handle is alive for the call, and the option takes a long.
    unsafe { curl_sys::curl_easy_setopt(easy.raw(), SUPPRESS_CONNECT_HEADERS, c_long::from(1)) };
}

/// Lets `multi` look up names on `threads` threads, and end without a wait for lookups that hang, which can
/// take half a minute.
pub fn set_lookup_threads(multi: &Multi, threads: u16) {
    // From curl/multi.h, not yet in curl-sys; a libcurl without these options ignores them.
    const RESOLVE_THREADS_MAX: curl_sys::CURLMoption = 20;
    const QUICK_EXIT: curl_sys::CURLMoption = 21;
    for (option, value) in [(RESOLVE_THREADS_MAX, c_long::from(threads)), (QUICK_EXIT, 1)] {
        // SAFETY: the handle is alive for the call, and both options take a long.
        unsafe { curl_sys::curl_multi_setopt(multi.raw(), option, value) };
    }
}

/// A share of libcurl that keeps connections open, for the handles that it is attached to. For use on one
/// thread.
#[derive(Debug)]
pub struct ConnectionShare(*mut curl_sys::CURLSH);

impl ConnectionShare {
    /// Makes an empty share; none without memory.
    pub fn new() -> Option<ConnectionShare> {
        const CONNECT: curl_sys::curl_lock_data = curl_sys::CURL_LOCK_DATA_CONNECT;
        // SAFETY: the share is new and alive, and the option takes this number. Only this thread uses the
        // share, so it needs no locks.
        unsafe {
            let handle = curl_sys::curl_share_init();
            if handle.is_null() {
                return None;
            }
            let share = ConnectionShare(handle);
            let code = curl_sys::curl_share_setopt(handle, curl_sys::CURLSHOPT_SHARE, CONNECT);
            (code == curl_sys::CURLSHE_OK).then_some(share)
        }
    }

    /// Makes a handle take its connection from this share, and leave it there. The share must outlive the
    /// handle.
    pub fn attach_to<H>(&self, easy: &Easy2<H>) {
        // SAFETY: both are alive for the call, and the caller keeps the share alive after it.
        unsafe { curl_sys::curl_easy_setopt(easy.raw(), curl_sys::CURLOPT_SHARE, self.0) };
    }
}

impl Drop for ConnectionShare {
    fn drop(&mut self) {
        // SAFETY: the share came from curl_share_init, and no handle uses it any more. If one did, libcurl
        // would refuse the call and not free the share.
        unsafe { curl_sys::curl_share_cleanup(self.0) };
    }
}

/// State of an open connection without a request on it.
pub enum IdleState {
    /// No byte has arrived.
    Silent,
    /// The site has sent bytes without a request.
    HasBytes,
    /// The connection is closed or broken.
    Closed,
}

/// Returns the state of an open connection, and leaves its bytes unread.
pub fn idle_state(socket: curl_sys::curl_socket_t) -> IdleState {
    // SAFETY: the number is borrowed for one call. libcurl closes the socket only in calls of this thread,
    // which the owner of the connection makes. Should the number belong to another socket by then, the call
    // below would only look at that socket.
    let socket = unsafe { BorrowedFd::borrow_raw(socket) };
    // libcurl's sockets do not block.
    match SockRef::from(&socket).peek(&mut [MaybeUninit::uninit()]) {
        Ok(0) => IdleState::Closed,
        Ok(_) => IdleState::HasBytes,
        Err(error) if error.kind() == ErrorKind::WouldBlock => IdleState::Silent,
        Err(_) => IdleState::Closed,
    }
}

/// Limits the key exchange to the curves that all servers know. By default OpenSSL also makes an ML-KEM key
/// for each connection, which protects secrets for decades and takes a tenth of a check's CPU time.
pub fn set_key_exchange_groups<H>(easy: &Easy2<H>) {
    // From curl/curl.h, not yet in curl-sys.
    const SSL_EC_CURVES: curl_sys::CURLoption = curl_sys::CURLOPTTYPE_OBJECTPOINT + 298;
    const CURVES: &CStr = c"X25519:P-256:P-384:P-521";
    // SAFETY: the handle is alive for the call, and copies the text.
    unsafe { curl_sys::curl_easy_setopt(easy.raw(), SSL_EC_CURVES, CURVES.as_ptr()) };
}

/// Makes the handle connect without ALPN, for a connection without HTTP.
pub fn disable_alpn<H>(easy: &Easy2<H>) {
    // From curl/curl.h, not yet in curl-sys.
    const SSL_ENABLE_ALPN: curl_sys::CURLoption = 226;
    // SAFETY: the handle is alive for the call, and the option takes a long.
    unsafe { curl_sys::curl_easy_setopt(easy.raw(), SSL_ENABLE_ALPN, c_long::from(0)) };
}

/// Returns the socket of a handle in a multi, which only connects (`tcp`).
pub fn socket<H>(handle: &Easy2Handle<H>) -> Option<curl_sys::curl_socket_t> {
    active_socket(handle.raw())
}

/// Returns the socket that a handle's last transfer has left open; none if it was closed.
pub fn idle_socket<H>(easy: &Easy2<H>) -> Option<curl_sys::curl_socket_t> {
    active_socket(easy.raw())
}

fn active_socket(handle: *mut curl_sys::CURL) -> Option<curl_sys::curl_socket_t> {
    // From curl/curl.h, not yet in curl-sys: CURLINFO_SOCKET + 44.
    const ACTIVESOCKET: curl_sys::CURLINFO = 0x0050_0000 + 44;
    let mut socket: curl_sys::curl_socket_t = -1;
    // SAFETY: the handle is alive for the call, and CURLINFO_ACTIVESOCKET stores a socket's number.
    let code = unsafe { curl_sys::curl_easy_getinfo(handle, ACTIVESOCKET, &raw mut socket) };
    (code == curl_sys::CURLE_OK && socket >= 0).then_some(socket)
}

/// Reads bytes that have arrived for a handle that only connects (`tcp`). Returns their number: 0 at the end
/// of the connection, none if no byte has arrived yet.
///
/// # Errors
/// The connection is broken.
pub fn receive<H>(
    handle: &Easy2Handle<H>,
    buffer: &mut [u8],
) -> Result<Option<usize>, curl::Error> {
    let mut count = 0;
    // SAFETY: the handle is alive and still in its multi, which owns the connection. libcurl writes at most
    // the length of the buffer.
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

/// Returns the last error number of the system (errno) in the handle's transfer, such as ECONNREFUSED; 0 if
/// none.
pub fn os_errno<H>(easy: &Easy2<H>) -> i32 {
    number(easy, curl_sys::CURLINFO_OS_ERRNO) as i32
}

/// Returns true if a byte of the request was sent. Bytes for the proxy alone do not count.
pub fn is_requested<H>(easy: &Easy2<H>) -> bool {
    number(easy, curl_sys::CURLINFO_REQUEST_SIZE) > 0
}

/// Returns the error of a proxy, as a `CURLproxycode` of curl/curl.h; 0 if none.
pub fn proxy_error<H>(easy: &Easy2<H>) -> c_long {
    // From curl/curl.h, not yet in curl-sys: CURLINFO_LONG + 59.
    const PROXY_ERROR: curl_sys::CURLINFO = 0x0020_0000 + 59;
    number(easy, PROXY_ERROR)
}

/// Reads a number of a transfer; 0 if there is none. `info` must be an option that stores a long.
fn number<H>(easy: &Easy2<H>, info: curl_sys::CURLINFO) -> c_long {
    let mut number: c_long = 0;
    // SAFETY: such an option stores a long.
    let code = unsafe { curl_sys::curl_easy_getinfo(easy.raw(), info, &raw mut number) };
    if code == curl_sys::CURLE_OK { number } else { 0 }
}

/// Returns how many bytes of a TCP connection the other side has acknowledged, and how many it has sent. The
/// start of the connection counts as one acknowledged byte, its end as one received byte. None if the kernel
/// does not count them: before Linux 4.1, and under emulation.
pub fn traffic(socket: &Socket) -> Option<(u64, u64)> {
    const TCP: c_int = 6;
    const TCP_INFO: c_int = 11;
    /// Offset of `tcpi_bytes_acked` in `struct tcp_info` of linux/tcp.h, in words of 8 bytes; the same on all
    /// processors.
    const ACKED: usize = 120 / 8;
    /// Offset of `tcpi_bytes_received`, likewise.
    const RECEIVED: usize = 128 / 8;
    let mut info = [0_u64; 32];
    let mut length = size_of_val(&info) as u32;
    // SAFETY: the kernel writes at most `length` bytes, which `info` has, and sets `length` to their number.
    let code = unsafe {
        getsockopt(socket.as_raw_fd(), TCP, TCP_INFO, info.as_mut_ptr().cast(), &raw mut length)
    };
    let is_told = code == 0 && length as usize >= (RECEIVED + 1) * 8;
    is_told.then_some((info[ACKED], info[RECEIVED]))
}
