//! Limits a handle of libcurl to one request.

#![expect(unsafe_code, reason = "options that the crate does not offer")]

use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::rc::Rc;

use curl::easy::Easy2;

use crate::model::attempts::RepeatReason;

/// Limit to one request over one connection. By itself libcurl repeats a request if an open connection has
/// died, if a stream of HTTP/2 was refused, or if a status demands it.
pub struct SingleRequest {
    may_connect: Cell<bool>,
    may_ask: Cell<bool>,
    repeat_reason: Cell<Option<RepeatReason>>,
    /// libcurl writes its errors here.
    error: UnsafeCell<[u8; curl_sys::CURL_ERROR_SIZE]>,
}

impl SingleRequest {
    /// Makes the limit for a request over a new connection if `may_connect`, else over an open one.
    pub fn new(may_connect: bool) -> Rc<SingleRequest> {
        Rc::new(SingleRequest {
            may_connect: Cell::new(may_connect),
            may_ask: Cell::new(true),
            repeat_reason: Cell::new(None),
            error: UnsafeCell::new([0; curl_sys::CURL_ERROR_SIZE]),
        })
    }

    /// Returns true if a socket may be opened: only for a new connection, and before the request is sent. A
    /// refusal is noted as a [`RepeatReason`].
    pub fn permits_connection(&self) -> bool {
        self.permits(self.may_connect.get())
    }

    fn permits_request(&self) -> bool {
        self.may_connect.set(false);
        self.permits(self.may_ask.replace(false))
    }

    fn permits(&self, may: bool) -> bool {
        // libcurl reports this only in its error text, and has cleared the first byte of that text by now.
        const WANTS_HTTP_1: &[u8] = b"HTTP_1_1_REQUIRED";
        if !may && self.repeat_reason.get().is_none() {
            let wants = self.error().windows(WANTS_HTTP_1.len()).any(|part| part == WANTS_HTTP_1);
            let why = if wants { RepeatReason::WantsHttp1 } else { RepeatReason::Refused };
            self.repeat_reason.set(Some(why));
        }
        may
    }

    /// Returns the reason why libcurl wanted to repeat the request; none if it did not.
    pub fn repeat_reason(&self) -> Option<RepeatReason> {
        self.repeat_reason.get()
    }

    /// Returns libcurl's text for its last error; none if it has none.
    pub fn error_text(&self) -> Option<String> {
        let text = CStr::from_bytes_until_nul(&self.error()).ok()?.to_string_lossy().into_owned();
        Some(text).filter(|text| !text.is_empty())
    }

    fn error(&self) -> [u8; curl_sys::CURL_ERROR_SIZE] {
        // SAFETY: libcurl writes to the buffer only during calls on this thread, and never during a callback.
        unsafe { *self.error.get() }
    }

    /// Makes a handle ask this limit before it connects and before it sends its request. The handler of the
    /// handle must keep `self` alive.
    pub fn attach_to<H>(self: &Rc<SingleRequest>, easy: &Easy2<H>) {
        // From curl/curl.h, not yet in curl-sys.
        const RESOLVER_START_FUNCTION: curl_sys::CURLoption =
            curl_sys::CURLOPTTYPE_FUNCTIONPOINT + 272;
        const RESOLVER_START_DATA: curl_sys::CURLoption = curl_sys::CURLOPTTYPE_OBJECTPOINT + 273;
        const PREREQ_FUNCTION: curl_sys::CURLoption = curl_sys::CURLOPTTYPE_FUNCTIONPOINT + 312;
        const PREREQ_DATA: curl_sys::CURLoption = curl_sys::CURLOPTTYPE_OBJECTPOINT + 313;
        type ResolverStart = extern "C" fn(*mut c_void, *mut c_void, *mut c_void) -> c_int;
        type PreRequest =
            extern "C" fn(*mut c_void, *mut c_char, *mut c_char, c_int, c_int) -> c_int;
        let (resolve, request): (ResolverStart, PreRequest) = (may_resolve, may_request);
        let (own, handle) = (Rc::as_ptr(self), easy.raw());
        // SAFETY: the handle is alive for the calls. The callbacks come only while the handle is alive, and
        // its handler, which keeps `self` at its address, is dropped after the handle. The functions have the
        // types of curl.h, and the buffer has the size of curl.h.
        unsafe {
            curl_sys::curl_easy_setopt(handle, curl_sys::CURLOPT_ERRORBUFFER, (*own).error.get());
            curl_sys::curl_easy_setopt(handle, RESOLVER_START_FUNCTION, resolve);
            curl_sys::curl_easy_setopt(handle, RESOLVER_START_DATA, own);
            curl_sys::curl_easy_setopt(handle, PREREQ_FUNCTION, request);
            curl_sys::curl_easy_setopt(handle, PREREQ_DATA, own);
        }
    }
}

/// Answers libcurl before it looks up a name: 0 if it may.
extern "C" fn may_resolve(_: *mut c_void, _: *mut c_void, single: *mut c_void) -> c_int {
    // SAFETY: the pointer was set in `attach_to` and is alive, as said there; nobody has it mutably.
    let single = unsafe { &*single.cast_const().cast::<SingleRequest>() };
    c_int::from(!single.permits_connection())
}

/// Answers libcurl before it sends a request: 0 if it may.
extern "C" fn may_request(
    single: *mut c_void,
    _: *mut c_char,
    _: *mut c_char,
    _: c_int,
    _: c_int,
) -> c_int {
    // SAFETY: as above.
    let single = unsafe { &*single.cast_const().cast::<SingleRequest>() };
    c_int::from(!single.permits_request())
}
