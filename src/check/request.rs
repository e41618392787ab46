//! Makes the requests of one check. A check is a chain of hops: its first request, and one more for each
//! redirect that it follows. Each hop is a request to one URL over a connection of its own, with a lookup of
//! the name and a full TLS handshake, so that each phase is measured; only with `reuse` may a hop use the
//! connection of an earlier check.
//!
//! `lookup` finds the addresses of a hop, this file makes its request, `evaluation` decides about its result,
//! and `redirect` or `repetition` start the next hop.

mod evaluation;
mod greeting;
mod hop_certificate;
mod lookup;
mod redirect;
mod repetition;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use curl::easy::{Easy2, HttpVersion, List};
use url::Url;

use self::hop_certificate::HopCertificate;
use super::budget::Permit;
use super::callbacks::{ReadLimits, TransferCallbacks};
use super::fault::fault;
use super::phases::HopShape;
use super::pool::ConnectionPool;
use super::raw::{self, SingleRequest};
use super::route::{Route, is_at_home, speaks_tls};
use super::stall::ReplyOwner;
use super::trust::Trust;
use crate::model::cookie::Jar;
use crate::model::judge::{CheckFault, Reply};
use crate::model::outcome::{Cause, HOP_URL_MAX, Hop, Phases, tidy};
use crate::model::target::{Method, Target, shown};

/// Close an open connection after this time and two check intervals without a request (`reuse`).
const IDLE_TIME: Duration = Duration::from_secs(60);

/// Check under way: its present hop, and the results of earlier hops.
pub struct ActiveCheck {
    /// Target of the check.
    pub target: Arc<Target>,
    /// URL of the present hop.
    url: Url,
    method: Method,
    sends_body: bool,
    /// Number of redirects followed.
    redirects: u32,
    /// Sum of the phases of the hops that have ended.
    phases: Phases,
    /// Hops that have ended, in their order, for the record.
    hops: Vec<Hop>,
    /// Time at which the check is given up.
    deadline: Instant,
    /// Cookies that earlier hops have set.
    cookies: Jar,
    /// Connections of earlier checks of this target; none without `reuse`.
    pool: Option<Rc<ConnectionPool>>,
    /// True if all hops so far used a connection of an earlier check.
    all_reused: bool,
    /// True if the present hop uses a connection of an earlier check.
    reuses_connection: bool,
    /// True if the site has asked for HTTP/1.1 on this hop.
    needs_http_1: bool,
    /// Certificate that expires first, of those that earlier hops have shown.
    earliest: Option<HopCertificate>,
    /// Sum of the times that lookups have waited for a free thread.
    lookup_lag: Duration,
    /// Sum of the stalls of this process during the check.
    stalled: Duration,
    /// Start of the present hop.
    began: Instant,
    /// Addresses of the present hop; none before its lookup, or if it needs no lookup.
    found: Option<FoundAddresses>,
}

/// Addresses that a lookup has found.
struct FoundAddresses {
    /// Duration of the lookup.
    lookup_time: Duration,
    /// Addresses in the order in which to try them.
    list: Arc<[IpAddr]>,
}

/// Result of a hop, with the permit for the body.
pub enum HopEnd {
    /// The check has ended with this reply.
    Reply(Box<Reply>, Permit),
    /// The check goes on with another hop: after a redirect, or because the same request is made once more.
    Next(Box<ActiveCheck>, Permit),
}

impl ActiveCheck {
    /// Begins a check at `now` with its first hop. `pool` has the connections of earlier checks.
    pub fn new(target: Arc<Target>, pool: Option<Rc<ConnectionPool>>, now: Instant) -> ActiveCheck {
        ActiveCheck {
            url: target.url.clone(),
            method: target.method,
            sends_body: !target.body.0.is_empty(),
            redirects: 0,
            phases: Phases::default(),
            hops: Vec::new(),
            cookies: Jar::default(),
            deadline: now + target.timeout,
            pool,
            all_reused: true,
            reuses_connection: false,
            needs_http_1: false,
            earliest: None,
            lookup_lag: Duration::ZERO,
            stalled: Duration::ZERO,
            began: now,
            found: None,
            target,
        }
    }

    /// Adds a stall of the length `late` that ends at `now`. Only the part since the start of this hop
    /// counts.
    pub fn add_stall(&mut self, late: Duration, now: Instant) {
        self.stalled += late.min(now.saturating_duration_since(self.began));
    }

    /// Returns the facts that the engine needs to finish this check.
    pub fn owner(&self) -> ReplyOwner {
        ReplyOwner { target: Arc::clone(&self.target), stalled: self.stalled }
    }

    /// Makes libcurl's handle for the request of this hop.
    ///
    /// # Errors
    /// The deadline has passed, the roots cannot be read, or libcurl refuses an option: returns the reply
    /// that ends the check.
    pub fn make_request(
        &self,
        trust: &Trust,
        permit: Permit,
    ) -> Result<Easy2<TransferCallbacks>, Box<Reply>> {
        let target = &*self.target;
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let fault =
                self.fault_of(curl_sys::CURLE_OPERATION_TIMEDOUT, "", (0, true), &self.phases);
            return Err(Box::new(self.reply(self.phases, Some(fault))));
        }
        let roots = match trust.roots_for(target) {
            Ok(roots) => roots,
            Err(error) if self.is_tls() => {
                let fault = CheckFault { cause: Cause::Internal, text: error.to_string() };
                return Err(Box::new(self.reply(self.phases, Some(fault))));
            }
            Err(_) => None,
        };
        let limits = ReadLimits {
            max_body: target.max_body,
            stores_body: target.wants_body(),
            target: Arc::clone(&self.target),
            redirect_base: (self.redirects < target.max_redirects).then(|| self.url.clone()),
        };
        let share = self.pool.as_ref().and_then(|pool| pool.share(&self.url));
        let single = SingleRequest::new(!self.reuses_connection);
        let mut callbacks = TransferCallbacks::new(limits, roots.cloned(), share, single, permit);
        callbacks.lookup_time =
            self.found.as_ref().map_or(Duration::ZERO, |found| found.lookup_time);
        let mut easy = Easy2::new(callbacks);
        match self.configure(&mut easy, left) {
            Ok(()) => Ok(easy),
            Err(error) => {
                let why = easy.get_ref().single.error_text();
                let why = why.as_deref().unwrap_or_else(|| error.description());
                let text = format!("cannot make the request: {why}");
                let fault = CheckFault { cause: Cause::Internal, text };
                Err(Box::new(self.reply(self.phases, Some(fault))))
            }
        }
    }

    fn configure(
        &self,
        easy: &mut Easy2<TransferCallbacks>,
        left: Duration,
    ) -> Result<(), curl::Error> {
        let target = &*self.target;
        let mut list = List::new();
        // True if the user has not set this header.
        let wants = |name: &str| !target.headers.iter().any(|h| h.name.eq_ignore_ascii_case(name));
        easy.get_ref().single.attach_to(easy);
        self.route().configure(easy, &mut list)?;
        if self.needs_http_1 {
            easy.http_version(HttpVersion::V11)?;
        }
        if let Some(found) = &self.found {
            self.route().set_addresses(easy, &found.list)?;
        }
        // Use a connection of an earlier check only with `reuse`.
        let share = easy.get_ref().share.clone();
        share.iter().for_each(|share| share.attach_to(easy));
        easy.fresh_connect(!self.reuses_connection)?;
        // A `tcp` connection stays open until its greeting is read; it is closed with its handle.
        easy.forbid_reuse(share.is_none() && !target.is_tcp())?;
        easy.maxage_conn(target.interval * 2 + IDLE_TIME)?;
        easy.ssl_sessionid_cache(false)?;
        // libcurl has to remember our addresses until it connects: 1 s is the shortest time that it knows.
        let cached = if self.found.is_some() { Duration::from_secs(1) } else { Duration::ZERO };
        easy.dns_cache_timeout(cached)?;
        raw::unset_default_roots(easy);
        raw::set_key_exchange_groups(easy);
        raw::hide_proxy_headers(easy);
        easy.ssl_verify_peer(target.verify)?;
        easy.ssl_verify_host(target.verify)?;
        easy.signal(false)?;
        // Round up to whole milliseconds, since libcurl takes 0 for «no limit».
        let left = Duration::from_millis(left.as_micros().div_ceil(1000) as u64);
        easy.timeout(left)?;
        easy.connect_timeout(left)?;

        let at_home = is_at_home(target, &self.url);
        if let Some(login) = target.login.as_ref().filter(|_| at_home) {
            easy.username(&login.user.0)?;
            easy.password(&login.password.0)?;
        }
        if let Some(token) = target.bearer.as_ref().filter(|_| at_home) {
            list.append(&format!("Authorization: Bearer {}", token.0))?;
        }
        self.set_method(easy)?;
        if wants("user-agent") {
            easy.useragent(concat!("sitewatch/", env!("CARGO_PKG_VERSION")))?;
        }
        if wants("accept-encoding") {
            // A header and not libcurl's option, since the body is decoded here.
            list.append("Accept-Encoding: gzip, deflate")?;
        }
        // Remove the two headers that libcurl would add to a body.
        if wants("expect") {
            list.append("Expect:")?;
        }
        if wants("content-type") {
            list.append("Content-Type:")?;
        }
        self.append_user_headers(at_home, &mut list)?;
        easy.http_headers(list)
    }

    /// Sets the method and the body of the request.
    fn set_method(&self, easy: &mut Easy2<TransferCallbacks>) -> Result<(), curl::Error> {
        let body = if self.sends_body { self.target.body.0.as_bytes() } else { b"" };
        match self.method {
            Method::Get if body.is_empty() => easy.get(true)?,
            Method::Head => easy.nobody(true)?,
            method => {
                if !body.is_empty() || method == Method::Post {
                    easy.post(true)?;
                    easy.post_fields_copy(body)?;
                }
                easy.custom_request(method.as_str())?;
            }
        }
        Ok(())
    }

    fn route(&self) -> Route<'_> {
        Route::new(&self.target, &self.url)
    }

    fn is_tls(&self) -> bool {
        speaks_tls(&self.target, &self.url)
    }

    /// Returns the time at which the check is given up.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns the properties of the hop that decide which phases it has.
    fn shape(&self) -> HopShape {
        HopShape {
            connects: !self.reuses_connection,
            looks_up: self.route().looks_up(),
            is_proxied: self.route().proxy_method().is_some(),
            is_tls: self.is_tls(),
            awaits_bytes: !self.target.is_tcp() || self.awaits_greeting(),
        }
    }

    /// Starts another hop at this moment: no address is known yet.
    fn begin_hop(&mut self) {
        self.began = Instant::now();
        self.found = None;
    }

    fn fault_of(
        &self,
        code: curl_sys::CURLcode,
        why: &str,
        errno: (i32, bool),
        hop: &Phases,
    ) -> CheckFault {
        fault(code, why, errno, hop, self.target.timeout.as_millis())
    }

    fn reply(&self, phases: Phases, fault: Option<CheckFault>) -> Reply {
        let (redirects, hops) = (self.redirects, self.hops.clone());
        let late_us = self.lookup_lag.as_micros() as i64;
        let mut reply = Reply { phases, fault, redirects, hops, late_us, ..Reply::default() };
        self.report_certificate(&mut reply, None);
        reply
    }
}

/// Makes the entry of a hop in the record.
fn hop_record(url: &Url, address: Option<String>, status: Option<u16>, phases: Phases) -> Hop {
    Hop { url: tidy(&shown(url), HOP_URL_MAX), address, status, phases }
}
