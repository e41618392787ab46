//! The result of a check, [`Outcome`], and the records that stand in for checks that were not made
//! ([`Gap`]) or not kept ([`Loss`]).

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

/// Result of one check of one target from one node at one due time. Its key is (target, node, due, run).
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Name of the target.
    pub target: Arc<str>,
    /// Node that made the check.
    pub node: Arc<str>,
    /// Number of the node's run: drawn anew at each start and after each backward step of the clock; 31
    /// bits.
    pub run: u32,
    /// Due time of the check, in milliseconds since 1970; a point of the target's grid.
    pub due_ms: i64,
    /// Delay of the real start after `due_ms`, in microseconds.
    pub lag_us: i64,
    /// Interval of the target at that time, in milliseconds.
    pub interval_ms: i64,
    /// Verdict of the check.
    pub verdict: Verdict,
    /// Cause of the verdict `down` or `unknown`; with the verdict `up`, a remark.
    pub cause: Option<Cause>,
    /// True if the last reply's header, and its body as far as it is read, arrived in time.
    pub responded: bool,
    /// Status code of the last reply, if its header arrived.
    pub status: Option<u16>,
    /// True if the status is accepted; none if no status arrived.
    pub status_ok: Option<bool>,
    /// True if every `match` and no `reject` was found; none without an expression, without a reply, or if
    /// the body's charset left some expression undecided.
    pub match_ok: Option<bool>,
    /// Duration of each phase.
    pub phases: Phases,
    /// Duration of the whole check, in microseconds: the sum of the phases.
    pub total_us: u64,
    /// Address of the last connection.
    pub address: Option<String>,
    /// HTTP version of the last reply.
    pub http: Option<Cow<'static, str>>,
    /// Number of redirects followed.
    pub redirects: u32,
    /// Bytes of the decoded body that were read.
    pub bytes: u64,
    /// Number of attempts, the last one included.
    pub attempts: u32,
    /// Text that the first `match` found; at most [`MATCHED_MAX`] bytes.
    pub matched: Option<String>,
    /// Beginning of the body; at most [`EXCERPT_MAX`] bytes.
    pub excerpt: Option<String>,
    /// Reason of the verdict as text for people; at most [`ERROR_MAX`] bytes.
    pub error: Option<String>,
    /// End of the leaf certificate's validity, in seconds since 1970.
    pub cert_expires_s: Option<i64>,
    /// Earliest end of validity in the verified chain, in seconds since 1970.
    pub chain_expires_s: Option<i64>,
    /// Subject and issuer of the leaf certificate, shown by `sitewatch check`; in no record.
    pub certificate: Option<String>,
    /// True if an address of one family (IPv4 or IPv6) answered, and one of the other, tried before, had
    /// not; shown by `sitewatch check`; in no record.
    pub fell_back: bool,
    /// True if the check used connections of an earlier check alone; none if the target keeps no
    /// connection.
    pub reused: Option<bool>,
    /// All requests in their order, if redirects were followed; else empty.
    pub hops: Vec<Hop>,
}

/// Request of a check that followed redirects.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hop {
    /// URL without user, password, query and fragment; at most [`HOP_URL_MAX`] bytes.
    pub url: String,
    /// Address that the request connected to.
    pub address: Option<String>,
    /// Status code of the reply, if its header arrived.
    pub status: Option<u16>,
    /// Duration of each phase.
    pub phases: Phases,
}

/// Durations of the phases in microseconds: disjoint, summed over redirects, adding up to the total.
/// Absent: the phase was not reached. A phase that was cut off holds its time until then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// Look-up of the name; 0 if the URL holds an address.
    pub dns_us: Option<u64>,
    /// TCP connect.
    pub connect_us: Option<u64>,
    /// TLS handshake; absent for http.
    pub tls_us: Option<u64>,
    /// From the end of the phase before to the first byte of the reply, sending of the request included.
    pub first_byte_us: Option<u64>,
    /// From the first byte to the end of what is read.
    pub transfer_us: Option<u64>,
}

impl Phases {
    /// Returns the phases in their order, with the names that people see.
    pub fn named(&self) -> [(&'static str, Option<u64>); 5] {
        [
            ("dns", self.dns_us),
            ("connect", self.connect_us),
            ("tls", self.tls_us),
            ("first byte", self.first_byte_us),
            ("transfer", self.transfer_us),
        ]
    }

    /// Returns the sum of the phases that were reached, in microseconds.
    pub fn total_us(&self) -> u64 {
        self.named().iter().filter_map(|(_, us)| *us).sum()
    }

    /// Adds the phases of another hop, each to its own.
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
    /// Verdicts of one check.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Verdict {
        /// The target responded, with an accepted status and the content that was asked for.
        Up = "up",
        /// As `Up`, but the check took longer than `slow_after`.
        Slow = "slow",
        /// The site is at fault.
        Down = "down",
        /// We are at fault, never the site.
        Unknown = "unknown",
    }
}

impl Verdict {
    /// Returns the verdict as a lasting state: up and slow are both up.
    pub fn state(self) -> Verdict {
        match self {
            Verdict::Slow => Verdict::Up,
            other => other,
        }
    }
}

words! {
    /// Causes of a verdict down or unknown, and the remark on a verdict up.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Cause {
        /// The name was not found.
        Dns = "dns",
        /// No TCP connection was made.
        Connect = "connect",
        /// The TLS handshake failed.
        Tls = "tls",
        /// A certificate of the chain has ended.
        CertificateExpired = "certificate_expired",
        /// The chain leads to no trusted root, or the certificate is signed by itself.
        CertificateUntrusted = "certificate_untrusted",
        /// The certificate is for another name.
        CertificateName = "certificate_name",
        /// The certificate has any other fault.
        Certificate = "certificate",
        /// Our deadline passed, in whatever phase.
        Timeout = "timeout",
        /// The reply is not HTTP, or was cut off.
        Protocol = "protocol",
        /// There were more redirects than allowed.
        TooManyRedirects = "too_many_redirects",
        /// The status is not accepted.
        Status = "status",
        /// A `match` is missing or a `reject` was found.
        Body = "body",
        /// Of unknown: our own network is away.
        Uplink = "uplink",
        /// Of unknown: the clock was stepped or stood still during the check.
        Clock = "clock",
        /// Of unknown: the check had more to hold than there is room for.
        Overload = "overload",
        /// Of unknown: anything else failed on our side.
        Internal = "internal",
        /// Of up: the certificate ends soon.
        CertificateSoon = "certificate_soon",
        /// A cause that a newer sitewatch wrote.
        Other = "other",
    }
}

impl Cause {
    /// Returns true if our side is at fault, so that the verdict is unknown, never down.
    pub fn is_ours(self) -> bool {
        matches!(self, Cause::Uplink | Cause::Clock | Cause::Overload | Cause::Internal)
    }
}

/// Consecutive due times of one target that were not checked. Key: (target, node, from, run).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Name of the target.
    pub target: Arc<str>,
    /// Node that should have made the checks.
    pub node: Arc<str>,
    /// As in [`Outcome::run`].
    pub run: u32,
    /// First due time that was missed, in milliseconds since 1970.
    pub from_ms: i64,
    /// Last due time that was missed, in milliseconds since 1970; equals `from_ms` if one was missed.
    pub to_ms: i64,
    /// Number of due times that were missed; at least 1.
    pub count: u64,
    /// Interval of the target, in milliseconds.
    pub interval_ms: i64,
    /// Reason for which they were missed.
    pub cause: GapCause,
}

words! {
    /// Reasons for which due times were missed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum GapCause {
        /// No room in flight or for bodies until the next due time, or the node stood still.
        Overload = "overload",
        /// The clock was stepped ahead.
        Clock = "clock",
        /// The machine was asleep.
        Suspend = "suspend",
        /// The node was stopping, or the target is checked no longer.
        Stop = "stop",
        /// A reason that a newer sitewatch wrote.
        Other = "other",
    }
}

/// Records that were made and had to be dropped. Key: (node, run, from, cause, sequence).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Node that made the records.
    pub node: Arc<str>,
    /// As in [`Outcome::run`].
    pub run: u32,
    /// Oldest due time dropped, in milliseconds since 1970.
    pub from_ms: i64,
    /// Newest due time dropped, in milliseconds since 1970.
    pub to_ms: i64,
    /// Number of records dropped.
    pub count: u64,
    /// Reason for which they were dropped.
    pub cause: LossCause,
    /// Number that tells losses of one node, run, start and cause apart, from 0 on.
    pub sequence: u32,
}

words! {
    /// Reasons for which records were dropped.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum LossCause {
        /// The store was away for longer than memory could hold.
        MemoryFull = "memory_full",
        /// The spool on disk reached its largest size.
        SpoolFull = "spool_full",
        /// The store reached its largest size; the oldest records were deleted.
        Expired = "expired",
        /// Stored records could not be read, or are refused for good by the next place.
        Damaged = "damaged",
        /// A reason that a newer sitewatch wrote.
        Other = "other",
    }
}

/// Returns `text` fit for a record: U+FFFD for NUL, and cut to `limit_bytes` at a character's end.
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
