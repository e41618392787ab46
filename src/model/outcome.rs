//! What a check found: the one noun that travels, and what stands in for checks that were not
//! made or not kept.

use std::borrow::Cow;
use std::sync::Arc;

use crate::words::words;

/// Longest `error` of an outcome, in bytes.
pub const ERROR_MAX: usize = 512;
/// Longest `matched` of an outcome, in bytes.
pub const MATCHED_MAX: usize = 256;
/// Longest `excerpt` of an outcome, in bytes.
pub const EXCERPT_MAX: usize = 16 * 1024;
/// Longest `url` of a hop, in bytes.
pub const HOP_URL_MAX: usize = 2048;

/// One check of one target from one node at one due time. Its key is (target, node, due, run).
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The target's name.
    pub target: Arc<str>,
    /// The node that checked.
    pub node: Arc<str>,
    /// Drawn anew at each start and after each backward step of the clock; 31 bits.
    pub run: u32,
    /// When it was due, in milliseconds since 1970; on the target's grid.
    pub due_ms: i64,
    /// Real start after `due_ms`, in microseconds.
    pub lag_us: i64,
    /// The target's interval at that time, in milliseconds.
    pub interval_ms: i64,
    /// The judgement.
    pub verdict: Verdict,
    /// Why it is down, unknown, or up with a remark.
    pub cause: Option<Cause>,
    /// Whether the last reply's header, and its body as far as it is read, arrived in time.
    pub responded: bool,
    /// Status code of the last reply, if its header arrived.
    pub status: Option<u16>,
    /// Whether the status is accepted; none without a reply.
    pub status_ok: Option<bool>,
    /// Whether every `match` and no `reject` was found; none without an expression or a reply.
    pub match_ok: Option<bool>,
    /// How long each phase took.
    pub phases: Phases,
    /// The whole check, in microseconds: the sum of the phases.
    pub total_us: u64,
    /// The address connected to last.
    pub address: Option<String>,
    /// Version of HTTP that the last reply spoke.
    pub http: Option<Cow<'static, str>>,
    /// Redirects followed.
    pub redirects: u32,
    /// Bytes of decoded body that were read.
    pub bytes: u64,
    /// How often it was tried, the last try included.
    pub attempts: u32,
    /// What the first `match` found; at most [`MATCHED_MAX`] bytes.
    pub matched: Option<String>,
    /// The beginning of the body; at most [`EXCERPT_MAX`] bytes.
    pub excerpt: Option<String>,
    /// Why, for people; at most [`ERROR_MAX`] bytes.
    pub error: Option<String>,
    /// When the leaf certificate ends, in seconds since 1970.
    pub cert_expires_s: Option<i64>,
    /// When the first certificate of the chain that was verified ends, in seconds since 1970.
    pub chain_expires_s: Option<i64>,
    /// Whose the leaf is and who has issued it, for people who look now; in no record.
    pub certificate: Option<String>,
    /// An address of one family answered after one of the other had been tried in vain, for people
    /// who look now; in no record.
    pub fell_back: bool,
    /// Whether the connection was one of an earlier check; none: not said.
    pub reused: Option<bool>,
    /// Every request in its order, if redirects were followed; else empty.
    pub hops: Vec<Hop>,
}

/// One request of a check that followed redirects.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hop {
    /// URL without user, password, query and fragment; at most [`HOP_URL_MAX`] bytes.
    pub url: String,
    /// The address connected to.
    pub address: Option<String>,
    /// Status code of the reply, if its header arrived.
    pub status: Option<u16>,
    /// How long each phase took.
    pub phases: Phases,
}

/// Durations of the phases in microseconds: disjoint, summed over redirects, adding up to the
/// total. Absent: not reached. One that was cut holds the time it had until then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// Name looked up; 0 for an address.
    pub dns_us: Option<u64>,
    /// TCP connected.
    pub connect_us: Option<u64>,
    /// TLS done; absent for http.
    pub tls_us: Option<u64>,
    /// From there to the reply's first byte, sending included.
    pub first_byte_us: Option<u64>,
    /// The rest of what is read.
    pub transfer_us: Option<u64>,
}

impl Phases {
    /// The phases in their order, with the names that people see.
    pub fn named(&self) -> [(&'static str, Option<u64>); 5] {
        [
            ("dns", self.dns_us),
            ("connect", self.connect_us),
            ("tls", self.tls_us),
            ("first byte", self.first_byte_us),
            ("transfer", self.transfer_us),
        ]
    }

    /// Sum of the phases that were reached.
    pub fn total_us(&self) -> u64 {
        self.named().iter().filter_map(|(_, us)| *us).sum()
    }

    /// The phases of another hop added, each to its own.
    pub fn add(&mut self, hop: &Phases) {
        fn sum(a: &mut Option<u64>, b: Option<u64>) {
            *a = match (*a, b) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
        }
        sum(&mut self.dns_us, hop.dns_us);
        sum(&mut self.connect_us, hop.connect_us);
        sum(&mut self.tls_us, hop.tls_us);
        sum(&mut self.first_byte_us, hop.first_byte_us);
        sum(&mut self.transfer_us, hop.transfer_us);
    }
}

words! {
    /// The judgement over one check.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Verdict {
        /// It responded, with an accepted status and the content that was asked for.
        Up = "up",
        /// Up, but over `slow_after`.
        Slow = "slow",
        /// The site's fault.
        Down = "down",
        /// Our fault, never the site's.
        Unknown = "unknown",
    }
}

impl Verdict {
    /// The verdict as a state that lasts: up and slow are one.
    pub fn state(self) -> Verdict {
        match self {
            Verdict::Slow => Verdict::Up,
            other => other,
        }
    }
}

words! {
    /// Why a check is down or unknown.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Cause {
        /// The name was not found.
        Dns = "dns",
        /// No TCP connection.
        Connect = "connect",
        /// The TLS handshake failed.
        Tls = "tls",
        /// A certificate of the chain has ended.
        CertificateExpired = "certificate_expired",
        /// No trusted root, or signed by itself.
        CertificateUntrusted = "certificate_untrusted",
        /// The certificate is for another name.
        CertificateName = "certificate_name",
        /// Anything else about the certificate.
        Certificate = "certificate",
        /// Our deadline, in whatever phase.
        Timeout = "timeout",
        /// What came is not HTTP, or was cut.
        Protocol = "protocol",
        /// More redirects than allowed.
        TooManyRedirects = "too_many_redirects",
        /// The status is not accepted.
        Status = "status",
        /// A `match` is missing or a `reject` was found.
        Body = "body",
        /// Of unknown: our own network is away.
        Uplink = "uplink",
        /// Of unknown: the clock was stepped or stood still during the check.
        Clock = "clock",
        /// Of unknown: more to hold than we have room for.
        Overload = "overload",
        /// Of unknown: anything else on our side.
        Internal = "internal",
        /// Of up: the certificate ends soon.
        CertificateSoon = "certificate_soon",
        /// One that a newer sitewatch wrote.
        Other = "other",
    }
}

impl Cause {
    /// Whether it is our trouble, so that the verdict is unknown, never down.
    pub fn is_ours(self) -> bool {
        matches!(self, Cause::Uplink | Cause::Clock | Cause::Overload | Cause::Internal)
    }
}

/// A run of due times of one target that were not checked. Key: (target, node, from, run).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The target's name.
    pub target: Arc<str>,
    /// The node that should have checked.
    pub node: Arc<str>,
    /// As in [`Outcome::run`].
    pub run: u32,
    /// First due time that was missed, in milliseconds since 1970.
    pub from_ms: i64,
    /// Last due time that was missed; equals `from_ms` for one.
    pub to_ms: i64,
    /// How many were missed; at least 1.
    pub count: u64,
    /// The target's interval, in milliseconds.
    pub interval_ms: i64,
    /// Why.
    pub cause: GapCause,
}

words! {
    /// Why due times were missed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum GapCause {
        /// No room in flight or for bodies until the next due time.
        Overload = "overload",
        /// The clock was stepped ahead.
        Clock = "clock",
        /// The machine was asleep.
        Suspend = "suspend",
        /// We were told to stop.
        Stop = "stop",
        /// One that a newer sitewatch wrote.
        Other = "other",
    }
}

/// Records that were made and had to be dropped. Key: (node, run, from, cause, sequence).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The node whose records they were.
    pub node: Arc<str>,
    /// As in [`Outcome::run`].
    pub run: u32,
    /// Oldest due time dropped, in milliseconds since 1970.
    pub from_ms: i64,
    /// Newest due time dropped.
    pub to_ms: i64,
    /// How many.
    pub count: u64,
    /// Why.
    pub cause: LossCause,
    /// Tells losses of one node, run, start and cause apart, from 0 on.
    pub sequence: u32,
}

words! {
    /// Why records were dropped.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum LossCause {
        /// The store was away for longer than memory could hold.
        MemoryFull = "memory_full",
        /// The disk held as much as it may.
        SpoolFull = "spool_full",
        /// The store had reached its largest size; the oldest went.
        Expired = "expired",
        /// What was kept could not be read, or nobody takes it.
        Damaged = "damaged",
        /// One that a newer sitewatch wrote.
        Other = "other",
    }
}

/// `text` fit for a record: U+FFFD for NUL, cut to
/// `limit_bytes` at a character's end.
pub fn tidy(text: &str, limit_bytes: usize) -> String {
    let mut tidy = String::with_capacity(text.len().min(limit_bytes));
    for c in text.chars() {
        let c = if c == '\0' { char::REPLACEMENT_CHARACTER } else { c };
        if tidy.len() + c.len_utf8() > limit_bytes {
            break;
        }
        tidy.push(c);
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_add_phase_by_phase() {
        let mut sum = Phases { dns_us: Some(1), connect_us: Some(2), ..Phases::default() };
        sum.add(&Phases { dns_us: Some(10), tls_us: Some(5), ..Phases::default() });
        let want =
            Phases { dns_us: Some(11), connect_us: Some(2), tls_us: Some(5), ..Phases::default() };
        assert_eq!(sum, want);
        assert_eq!(sum.total_us(), 18);
    }

    #[test]
    fn text_is_cut_at_a_characters_end() {
        assert_eq!(tidy("a\0b", 16), "a\u{fffd}b");
        assert_eq!(tidy("äöü", 5), "äö");
        assert_eq!(tidy("abc", 0), "");
    }
}
