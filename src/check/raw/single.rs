//! Limits a handle to one request.

#![expect(unsafe_code, reason = "options that the crate does not offer")]

use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::rc::Rc;

use curl::easy::Easy2;

use crate::model::attempts::RepeatReason;

/// Permit for one request over one connection. libcurl would repeat a request by itself if a kept
/// connection has died, a stream of HTTP/2 was refused, or a status asks for it: that is refused here.
pub struct SingleRequest {
    may_connect: Cell<bool>,
    may_ask: Cell<bool>,
    repeat_reason: Cell<Option<RepeatReason>>,
    /// libcurl writes its errors here.
    error: UnsafeCell<[u8; curl_sys::CURL_ERROR_SIZE]>,
}

impl SingleRequest {
    /// Makes a permit for a request over a new connection if `may_connect`, else over a kept one.
    pub fn new(may_connect: bool) -> Rc<SingleRequest> {
        Rc::new(SingleRequest {
            may_connect: Cell::new(may_connect),
            may_ask: Cell::new(true),
            repeat_reason: Cell::new(None),
            error: UnsafeCell::new([0; curl_sys::CURL_ERROR_SIZE]),
        })
    }

    /// Returns true if a socket may be opened: not over a kept connection, and not once the request is on its
    /// way. A refusal is noted as a [`RepeatReason`].
    pub fn permits_connection(&self) -> bool {
        self.permits(self.may_connect.get())
    }

    fn permits_request(&self) -> bool {
        self.may_connect.set(false);
        self.permits(self.may_ask.replace(false))
    }

    fn permits(&self, may: bool) -> bool {
        // libcurl reports this in its error text alone, of which it has cleared the first byte by now.
        const WANTS_HTTP_1: &[u8] = b"HTTP_1_1_REQUIRED";
        if !may && self.repeat_reason.get().is_none() {
            let wants = self.error().windows(WANTS_HTTP_1.len()).any(|part| part == WANTS_HTTP_1);
            let why = if wants { RepeatReason::WantsHttp1 } else { RepeatReason::Refused };
            self.repeat_reason.set(Some(why));
        }
        may
    }

    /// Returns the reason for which libcurl wanted to repeat the request; none if it did not.
    pub fn repeat_reason(&self) -> Option<RepeatReason> {
        self.repeat_reason.get()
    }

    /// Returns libcurl's text for its last error; none if there is no text.
    pub fn error_text(&self) -> Option<String> {
        let text = CStr::from_bytes_until_nul(&self.error()).ok()?.to_string_lossy().into_owned();
        Some(text).filter(|text| !text.is_empty())
    }

    fn error(&self) -> [u8; curl_sys::CURL_ERROR_SIZE] {
        // SAFETY: libcurl writes to it only while it is called, on this thread, and never while it
        // calls back.
        unsafe { *self.error.get() }
    }

    /// Makes a handle ask this permit before it connects and before it makes its request. The handle's
    /// handler must keep `self` alive.
    pub fn attach_to<H>(self: &Rc<SingleRequest>, easy: &Easy2<H>) {
        // Of curl/curl.h, not yet in curl-sys.
        const RESOLVER_START_FUNCTION: curl_sys::CURLoption =
            curl_sys::CURLOPTTYPE_FUNCTIONPOINT + 272;
        const RESOLVER_START_DATA: curl_sys::CURLoption = curl_sys::CURLOPTTYPE_OBJECTPOINT + 273;
        const PREREQ_FUNCTION: curl_sys::CURLoption = curl_sys::CURLOPTTYPE_FUNCTIONPOINT + 312;
        const PREREQ_DATA: curl_sys::CURLoption = curl_sys::CURLOPTTYPE_OBJECTPOINT + 313;
        type Resolve = extern "C" fn(*mut c_void, *mut c_void, *mut c_void) -> c_int;
        type Request = extern "C" fn(*mut c_void, *mut c_char, *mut c_char, c_int, c_int) -> c_int;
        let (resolve, request): (Resolve, Request) = (may_resolve, may_request);
        let (own, handle) = (Rc::as_ptr(self), easy.raw());
        // SAFETY: the handle is alive for the calls. It outlives its calls back, and its handler,
        // which keeps `self` where it is, is dropped after the handle. The functions have the types
        // that curl.h gives, and the buffer its size.
        unsafe {
            curl_sys::curl_easy_setopt(handle, curl_sys::CURLOPT_ERRORBUFFER, (*own).error.get());
            curl_sys::curl_easy_setopt(handle, RESOLVER_START_FUNCTION, resolve);
            curl_sys::curl_easy_setopt(handle, RESOLVER_START_DATA, own);
            curl_sys::curl_easy_setopt(handle, PREREQ_FUNCTION, request);
            curl_sys::curl_easy_setopt(handle, PREREQ_DATA, own);
        }
    }
}

/// Callback of libcurl before it looks a name up; returns 0 if it may.
extern "C" fn may_resolve(_: *mut c_void, _: *mut c_void, single: *mut c_void) -> c_int {
    // SAFETY: what was set with this function, alive as said there, and only ever shared.
    let single = unsafe { &*single.cast_const().cast::<SingleRequest>() };
    c_int::from(!single.permits_connection())
}

/// Callback of libcurl before it makes a request; returns 0 if it may.
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
