//! Samples for the tests of this folder: a target, an outcome, a report.

use std::sync::Arc;

use url::Url;

use crate::model::outcome::{Outcome, Phases, Verdict};
use crate::model::report::{CELLS, Cell, Report};
use crate::model::secret::{Login, Secret};
use crate::model::standing::Standing;
use crate::model::tally::{CheckFacts, Tally};
use crate::model::target::Target;

/// The moment 2026-11-21T03:00:00Z, in milliseconds since 1970.
pub const NOW: i64 = 1_795_230_000_000;

/// Returns a target of the defaults, with secrets in its URL.
pub fn target(name: &str) -> Target {
    let url = Url::parse("https://example.org/?token=secret").unwrap();
    let login = Some(Login { user: Secret("me".into()), password: Secret("pass".into()) });
    Target { login, ..Target::new(name, url) }
}

/// Returns a check that found everything in order.
pub fn outcome() -> Outcome {
    let phases = Phases {
        dns_us: Some(12_300),
        connect_us: Some(20_100),
        tls_us: Some(40_400),
        first_byte_us: Some(30_200),
        transfer_us: Some(1_200),
    };
    Outcome {
        target: Arc::from("https://example.org"),
        node: Arc::from("lab"),
        run: 1,
        due_ms: NOW,
        lag_us: 0,
        interval_ms: 60_000,
        verdict: Verdict::Up,
        cause: None,
        responded: true,
        status: Some(200),
        status_ok: Some(true),
        match_ok: None,
        phases,
        total_us: phases.total_us(),
        address: Some("93.184.216.34".into()),
        http: Some("2".into()),
        redirects: 2,
        bytes: 1256,
        attempts: 1,
        matched: None,
        excerpt: None,
        error: None,
        cert_expires_s: Some(NOW / 1000 + 40 * 86_400 + 75_599),
        chain_expires_s: Some(NOW / 1000 + 400 * 86_400),
        certificate: None,
        fell_back: false,
        reused: None,
        hops: Vec::new(),
    }
}

/// Returns a report of `n` known checks that responded after 10, 20, .. ms, the last one slow; one more that
/// was down and one that was unknown. With 0: never checked.
pub fn report(target: &str, n: u64) -> Report {
    let mut tally = Tally::default();
    let mut cells = [Cell::default(); CELLS];
    let mut standing = Standing::default();
    if n > 0 {
        for i in 0..n + 2 {
            let verdict = match i {
                _ if i + 1 < n => Verdict::Up,
                _ if i + 1 == n => Verdict::Slow,
                _ if i == n => Verdict::Down,
                _ => Verdict::Unknown,
            };
            tally.add(&CheckFacts {
                due_ms: NOW - 1000 + i as i64,
                interval_ms: 60_000,
                verdict,
                responded: i < n,
                status_ok: Some(true),
                match_ok: None,
                total_us: (i + 1) * 10_000,
            });
        }
        tally.missed = 2;
        for (i, cell) in cells.iter_mut().enumerate().skip(4) {
            *cell = Cell { responded: 2, sum_us: i as u64 * 1000, down: u64::from(i == 20) };
        }
        standing = Standing {
            verdict: Some(Verdict::Down),
            last_due_ms: Some(NOW - 30_000),
            since_ms: Some(NOW - 200_000),
        };
    }
    Report {
        start_ms: NOW - 86_400_000,
        end_ms: NOW,
        target: Arc::from(target),
        node: None,
        coverage: (n > 0).then_some(2.0 / 3.0),
        standing,
        cells,
        tally,
    }
}
