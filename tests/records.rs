//! Records as tests of the stores and reports want them: all that matters is an argument, the
//! rest is filled in plausibly.

use std::collections::BTreeMap;
use std::sync::Arc;

use sitewatch::model::outcome::{Cause, Gap, GapCause, Loss, LossCause, Outcome, Phases, Verdict};
use sitewatch::model::record::{Record, TargetState};
use sitewatch::store::{Batch, Store, StoreError, WriteCounts};

use crate::harness::clock::hour_ms;

/// The hour in which the tests began, in milliseconds since 1970: of today, since stores and reports
/// judge rows by the clock.
pub fn now() -> i64 {
    hour_ms()
}

/// A check of `site` with an interval of a second, run 1.
pub fn outcome(site: &str, node: &str, due_ms: i64, verdict: Verdict) -> Outcome {
    let down = verdict == Verdict::Down;
    let phases = Phases {
        dns_us: Some(0),
        connect_us: Some(100),
        first_byte_us: Some(2000),
        transfer_us: Some(400),
        ..Phases::default()
    };
    Outcome {
        target: Arc::from(site),
        node: Arc::from(node),
        run: 1,
        due_ms,
        lag_us: 250,
        interval_ms: 1000,
        verdict,
        cause: match verdict {
            Verdict::Down => Some(Cause::Status),
            Verdict::Unknown => Some(Cause::Overload),
            Verdict::Up | Verdict::Slow => None,
        },
        responded: true,
        status: Some(if down { 500 } else { 200 }),
        status_ok: Some(!down),
        match_ok: None,
        phases,
        total_us: phases.total_us(),
        address: Some("127.0.0.1".to_owned()),
        http: Some("1.1".into()),
        redirects: 0,
        bytes: 12,
        attempts: 1,
        matched: None,
        excerpt: None,
        error: down.then(|| "status 500".to_owned()),
        cert_expires_s: None,
        chain_expires_s: None,
        certificate: None,
        fell_back: false,
        reused: None,
        hops: Vec::new(),
    }
}

/// The same as a record.
pub fn check(site: &str, node: &str, due_ms: i64, verdict: Verdict) -> Record {
    Record::Check(Box::new(outcome(site, node, due_ms, verdict)))
}

/// A gap of `count` slots a second apart, run 1.
pub fn gap(site: &str, node: &str, from_ms: i64, count: u64) -> Gap {
    Gap {
        target: Arc::from(site),
        node: Arc::from(node),
        run: 1,
        from_ms,
        to_ms: from_ms + (count as i64 - 1) * 1000,
        count,
        interval_ms: 1000,
        cause: GapCause::Overload,
    }
}

/// A loss of full memory.
pub fn loss(node: &str, run: u32, from_ms: i64, to_ms: i64, count: u64) -> Record {
    let cause = LossCause::MemoryFull;
    let node = Arc::from(node);
    Record::Loss(Loss { node, run, from_ms, to_ms, count, cause, sequence: 0 })
}

/// What a target is, as `node` says it at `sent_ms`.
pub fn target(site: &str, node: &str, sent_ms: i64, labels: &[(&str, &str)]) -> Record {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Record::Target(Box::new(TargetState {
        target: Arc::from(site),
        node: Arc::from(node),
        run: 1,
        sent_ms,
        url: format!("http://{site}/"),
        method: "GET".to_owned(),
        expected_status: "200-299".to_owned(),
        matches: String::new(),
        rejects: String::new(),
        interval_ms: 1000,
        labels: labels.collect::<BTreeMap<_, _>>(),
    }))
}

/// Stores these, now being [`now`].
pub fn put(store: &mut dyn Store, records: &[Record]) -> Result<WriteCounts, StoreError> {
    put_at(store, records, now())
}

/// Stores these at that time.
pub fn put_at(
    store: &mut dyn Store,
    records: &[Record],
    now_ms: i64,
) -> Result<WriteCounts, StoreError> {
    let batch = Batch { records: records.to_vec(), ..Batch::default() };
    store.write(&batch, now_ms).map(|result| result.counts())
}
