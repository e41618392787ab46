//! One hop of a check: a request to one URL over a connection of its own, and the evaluation of its
//! transfer. Each hop looks its name up, connects and makes a full TLS handshake, so that each phase is
//! measured; except for targets that keep their connections (`reuse`).

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
use self::repetition::RepeatDecision;
use super::budget::Permit;
use super::callbacks::{Callbacks, ReadLimits};
use super::certificate_fault;
use super::fault::{alert_fault, fault, silence, socket_fault};
use super::kernel_route::is_no_route;
use super::phases::{HopShape, fell_back, phases};
use super::proxy::{ProxyProgress, fold_into_connect};
use super::raw::{self, SingleRequest};
use super::route::{Route, is_at_home, speaks_tls};
use super::share::Kept;
use super::stall::ReplyOwner;
use super::trust::Trust;
use crate::model::cookie::Jar;
use crate::model::judge::{CheckFault, Reply};
use crate::model::outcome::{Cause, HOP_URL_MAX, Hop, Phases, tidy};
use crate::model::target::{Method, Target, shown};

/// Longest time that a kept connection is idle, beyond two check intervals.
const KEPT: Duration = Duration::from_secs(60);

/// Check under way: its current hop, and the results of the hops before.
pub struct ActiveCheck {
    /// Target of the check.
    pub target: Arc<Target>,
    url: Url,
    method: Method,
    sends_body: bool,
    redirects: u32,
    /// Sums of the phases of all hops that have ended.
    phases: Phases,
    /// Hops that ended with a redirect that was followed.
    hops: Vec<Hop>,
    deadline: Instant,
    /// Cookies that the hops so far have set.
    cookies: Jar,
    /// Connections that this target keeps from check to check; none without `reuse`.
    pool: Option<Rc<ConnectionPool>>,
    /// All hops so far went over kept connections.
    all_reused: bool,
    /// This hop goes over a kept connection.
    reuses_connection: bool,
    /// The site asked for HTTP/1.1 on this hop.
    needs_http_1: bool,
    /// Of the hops that have ended, the certificate with the earliest end.
    earliest: Option<HopCertificate>,
    /// Time that lookups of names waited for a thread, in all hops.
    lookup_lag: Duration,
    /// Time without a turn of the engine, summed over the turns that came far too late.
    stalled: Duration,
    /// Start of this hop, and the addresses of its name with the time that the lookup took.
    began: Instant,
    found: Option<(Duration, Arc<[IpAddr]>)>,
}

/// End of a hop.
pub enum HopEnd {
    /// End of the check, with its reply.
    Reply(Box<Reply>, Permit),
    /// Next hop of the check: after a redirect, or the same request anew.
    Next(Box<ActiveCheck>, Permit),
}

impl ActiveCheck {
    /// Begins a check at `now` with its first hop. `kept` has the connections of earlier checks.
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

    /// Adds a stall of the length `late` that ends at `now`; counts only the part since this hop began.
    pub fn stall(&mut self, late: Duration, now: Instant) {
        self.stalled += late.min(now.saturating_duration_since(self.began));
    }

    /// Returns the target and the stall that belong to a reply of this check.
    pub fn owner(&self) -> ReplyOwner {
        ReplyOwner { target: Arc::clone(&self.target), stalled: self.stalled }
    }

    /// Makes the handle for this hop's request.
    ///
    /// # Errors
    /// The deadline has passed, no roots, or libcurl refuses: gives the reply that the check ends with.
    pub fn request(&self, trust: &Trust, permit: Permit) -> Result<Easy2<Callbacks>, Box<Reply>> {
        let target = &*self.target;
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let fault =
                self.fault_of(curl_sys::CURLE_OPERATION_TIMEDOUT, "", (0, true), &self.phases);
            return Err(Box::new(self.reply(self.phases, Some(fault))));
        }
        let roots = match trust.of(target) {
            Ok(roots) => roots,
            Err(error) if self.is_tls() => {
                let fault = CheckFault { cause: Cause::Internal, text: error.to_string() };
                return Err(Box::new(self.reply(self.phases, Some(fault))));
            }
            Err(_) => None,
        };
        let limits = ReadLimits {
            max_body: target.max_body,
            keep: target.wants_body(),
            target: Arc::clone(&self.target),
            follow: (self.redirects < target.max_redirects).then(|| self.url.clone()),
        };
        let share = self.pool.as_ref().and_then(|pool| pool.share(&self.url));
        let single = SingleRequest::new(!self.reuses_connection);
        let mut callbacks = Callbacks::new(limits, roots.cloned(), share, single, permit);
        callbacks.looked = self.found.as_ref().map_or(Duration::ZERO, |(looked, _)| *looked);
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

    fn configure(&self, easy: &mut Easy2<Callbacks>, left: Duration) -> Result<(), curl::Error> {
        let target = &*self.target;
        let mut list = List::new();
        let wants = |name: &str| !target.headers.iter().any(|h| h.name.eq_ignore_ascii_case(name));
        easy.get_ref().single.attach_to(easy);
        self.route().configure(easy, &mut list)?;
        if self.needs_http_1 {
            easy.http_version(HttpVersion::V11)?;
        }
        if let Some((_, addresses)) = &self.found {
            self.route().set_addresses(easy, addresses)?;
        }
        // Use no connection of an earlier check, unless the target wants its connection kept.
        let share = easy.get_ref().share.clone();
        share.iter().for_each(|share| share.attach_to(easy));
        easy.fresh_connect(!self.reuses_connection)?;
        // A plain connection stays open for its greeting; it is closed with its handle.
        easy.forbid_reuse(share.is_none() && !target.is_tcp())?;
        easy.maxage_conn(target.interval * 2 + KEPT)?;
        easy.ssl_sessionid_cache(false)?;
        // libcurl keeps our addresses for 1 s, the shortest time that it knows: for this hop alone.
        let told = if self.found.is_some() { Duration::from_secs(1) } else { Duration::ZERO };
        easy.dns_cache_timeout(told)?;
        raw::unset_default_roots(easy);
        raw::set_key_exchange_groups(easy);
        raw::hide_proxy_headers(easy);
        easy.ssl_verify_peer(target.verify)?;
        easy.ssl_verify_host(target.verify)?;
        easy.signal(false)?;
        // Rounded up to whole milliseconds: libcurl takes 0 for no limit at all.
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
        let body = if self.sends_body { target.body.0.as_bytes() } else { b"" };
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
        if wants("user-agent") {
            easy.useragent(concat!("sitewatch/", env!("CARGO_PKG_VERSION")))?;
        }
        if wants("accept-encoding") {
            // A plain header, and not libcurl's option: the body is decoded here.
            list.append("Accept-Encoding: gzip, deflate")?;
        }
        // Removes the two headers that libcurl adds to a body: the user asked for neither.
        if wants("expect") {
            list.append("Expect:")?;
        }
        if wants("content-type") {
            list.append("Content-Type:")?;
        }
        self.append_user_headers(at_home, &mut list)?;
        easy.http_headers(list)
    }

    fn route(&self) -> Route<'_> {
        Route::new(&self.target, &self.url)
    }

    fn is_tls(&self) -> bool {
        speaks_tls(&self.target, &self.url)
    }

    /// Returns the time at which the check must be over.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Evaluates a transfer that has ended: gives the reply of the check, or its next hop.
    pub fn end(
        mut self: Box<ActiveCheck>,
        mut easy: Easy2<Callbacks>,
        result: Result<(), curl::Error>,
    ) -> HopEnd {
        let (result, refused) = match self.decide_repeat(easy.get_ref()) {
            None => (result, None),
            Some(RepeatDecision::StartAgain) => {
                return HopEnd::Next(self, easy.get_mut().body.take_permit());
            }
            Some(RepeatDecision::KeepReply) => (Ok(()), None),
            Some(RepeatDecision::Refused(fault)) => (result, Some(fault)),
        };
        self.all_reused &= self.reuses_connection;
        let shape = HopShape {
            connects: !self.reuses_connection,
            looks_up: self.route().looks_up(),
            is_proxied: self.route().proxy_method().is_some(),
            is_tls: self.is_tls(),
            speaks: !self.target.is_tcp() || self.awaits_greeting(),
        };
        let mut hop = phases(&mut easy, &shape);
        let url = self.url.clone();
        let errno = raw::os_errno(&easy);
        let address = easy.primary_ip().ok().flatten().filter(|ip| !ip.is_empty());
        let address = address.map(str::to_owned);
        let progress = ProxyProgress::of(&mut easy);
        let handshake = easy.get_mut().take_handshake();
        let certificate = self.certificate(&handshake);
        self.keep_connection(&easy, certificate.as_ref());
        let callbacks = easy.get_mut();
        let mut silence_kind = None;
        let mut fault = match (result, &callbacks.stop_reason) {
            (_, Some(reason)) => reason.fault(),
            (Ok(()), None) => callbacks.cut(),
            (Err(_), None) if refused.is_some() => refused,
            (Err(_), None) if callbacks.no_socket.is_some() => {
                callbacks.no_socket.as_ref().map(socket_fault)
            }
            (Err(error), None) => {
                let why = callbacks.single.error_text();
                let why = why.as_deref().unwrap_or_else(|| error.description());
                let timeout_ms = self.target.timeout.as_millis();
                let family = callbacks.family.filter(|_| callbacks.one_family);
                let mismatch = self.route().family_mismatch(error.code(), family);
                let on_the_way = mismatch
                    .or_else(|| self.route().fault(error.code(), progress, &hop, timeout_ms));
                let is_told = on_the_way.as_ref().is_some_and(|f| f.cause != Cause::Timeout);
                silence_kind = silence(error.code(), errno, &hop).filter(|_| !is_told);
                let refusal = || alert_fault(&handshake, &hop);
                let mut fault = on_the_way.or_else(refusal).unwrap_or_else(|| {
                    match if is_no_route(errno) { self.has_route() } else { Ok(true) } {
                        Ok(has) => self.fault_of(error.code(), why, (errno, has), &hop),
                        Err(error) => socket_fault(&error),
                    }
                });
                if fault.cause == Cause::Certificate
                    && let Some(verification) = &handshake.verification
                    && let Some((cause, text)) = certificate_fault::diagnose(verification, why)
                {
                    fault = CheckFault { cause, text };
                }
                Some(fault)
            }
        };
        if let Some(refusal) = self.route().proxy_login_fault(callbacks.header.final_status()) {
            fault = Some(refusal);
            callbacks.forget_reply();
        }
        if shape.is_proxied && fault.as_ref().is_some_and(|fault| fault.cause == Cause::Uplink) {
            hop = fold_into_connect(&hop);
        }
        self.phases.add(&hop);
        let is_tcp = self.target.is_tcp();
        if is_tcp && fault.is_none() && shape.speaks && !callbacks.spoke {
            let text = "the connection was closed before anything was said";
            fault = Some(CheckFault { cause: Cause::Protocol, text: text.to_owned() });
        }
        if !is_tcp && fault.is_none() && callbacks.header.final_status().is_none() {
            let text = match callbacks.header.complete {
                true => "the reply is not HTTP: its status is no number of three digits",
                false => "the connection was closed without a reply",
            };
            fault = Some(CheckFault { cause: Cause::Protocol, text: text.to_owned() });
        }
        let mut unusable = fault
            .is_none()
            .then(|| self.route().http_version_fault(callbacks.header.http))
            .flatten();
        if fault.is_none()
            && unusable.is_none()
            && self.target.max_redirects > 0
            && let Some(next) = callbacks.header.redirect_url(&self.url)
        {
            match next {
                Ok(next) if self.redirects < self.target.max_redirects => {
                    self.take_cookies(&callbacks.header.cookies);
                    match self.follow(next, callbacks.header.status) {
                        Ok(()) => {
                            self.hops.push(hop_record(&url, address, callbacks.header.status, hop));
                            self.earliest =
                                HopCertificate::earlier(self.earliest.take(), certificate);
                            return HopEnd::Next(self, callbacks.body.take_permit());
                        }
                        Err(refused) => unusable = Some(refused),
                    }
                }
                Ok(_) => {
                    let text = format!("more than {} redirects", self.target.max_redirects);
                    unusable = Some(CheckFault { cause: Cause::TooManyRedirects, text });
                }
                Err(text) => unusable = Some(CheckFault { cause: Cause::Protocol, text }),
            }
        }
        let bytes = callbacks.body.count();
        let (body, permit) = callbacks.body.take_bytes();
        let status = callbacks.header.final_status();
        if !self.hops.is_empty() {
            self.hops.push(hop_record(&url, address.clone(), status, hop));
        }
        let mut reply = Reply {
            unusable,
            silence: silence_kind,
            status,
            body,
            headers: std::mem::take(&mut callbacks.header.wanted),
            bytes,
            fell_back: fell_back(callbacks, address.as_deref()),
            address,
            http: callbacks.header.http,
            reused: self.pool.is_some().then_some(self.all_reused),
            ..self.reply(self.phases, fault)
        };
        self.report_certificate(&mut reply, certificate);
        HopEnd::Reply(Box::new(reply), permit)
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

/// Makes the hop as the record has it.
fn hop_record(url: &Url, address: Option<String>, status: Option<u16>, phases: Phases) -> Hop {
    Hop { url: tidy(&shown(url), HOP_URL_MAX), address, status, phases }
}
