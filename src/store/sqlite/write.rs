//! Writes records as rows: one transaction a batch. Keys absorb records that come again.

use std::sync::Arc;

use rusqlite::{Connection, Statement, Transaction, TransactionBehavior, params};

use super::expire::expire;
use super::ids::RowIds;
use crate::model::outcome::{Cause, Gap, Loss, Outcome};
use crate::model::record::{NodeState, Record, TargetState};
use crate::model::state::AHEAD_MS;
use crate::model::wire::{encode_hops, encode_labels};
use crate::store::batch::WriteCounts;
use crate::store::columns::signed;

/// Stores records, and brings the file back within its largest size.
pub fn write_records(
    connection: &mut Connection,
    known: &mut RowIds,
    max_size: u64,
    records: &mut dyn Iterator<Item = &Record>,
    now_ms: i64,
) -> rusqlite::Result<WriteCounts> {
    let mut written = WriteCounts::default();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // If the transaction fails, all remembered ids are dropped.
    let mut ids = std::mem::take(known);
    {
        let mut rows = RowWriter::new(&transaction, &mut ids)?;
        let mut last = None;
        for record in records {
            rows.write_record(record, now_ms, &mut written)?;
            if let Record::Check(outcome) = record {
                last = Some((Arc::clone(&outcome.node), outcome.run));
            }
        }
        if let Some((node, run)) = last {
            let node = rows.node_id(&node)?;
            transaction.execute("UPDATE node SET seen_ms = ? WHERE id = ?", (now_ms, node))?;
            written.expired = expire(&transaction, max_size, node, run)?;
        }
    }
    transaction.commit()?;
    *known = ids;
    Ok(written)
}

/// A check is late if a newer one is stored, and does not change the verdict. But a due time in the future
/// (after ?6) was stored while the clock was ahead, and is replaced.
const LATE: &str = "(excluded.last_due_ms < last_due_ms AND last_due_ms <= ?6)";

/// Prepared statements of one transaction.
struct RowWriter<'c> {
    connection: &'c Connection,
    outcome: Statement<'c>,
    state: Statement<'c>,
    ids: &'c mut RowIds,
}

impl<'c> RowWriter<'c> {
    fn new(
        connection: &'c Transaction<'_>,
        ids: &'c mut RowIds,
    ) -> rusqlite::Result<RowWriter<'c>> {
        let outcome = connection.prepare(
            "INSERT INTO outcome VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, \
             ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, \
             ?29, ?30) \
             ON CONFLICT DO NOTHING",
        )?;
        let state = "INSERT INTO state VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?4)
             ON CONFLICT (target_id, node_id) DO UPDATE SET
               since_ms = CASE
                 WHEN LATE THEN since_ms
                 WHEN replace(excluded.verdict, 'slow', 'up') = replace(verdict, 'slow', 'up')
                   THEN min(since_ms, excluded.since_ms)
                 ELSE excluded.since_ms END,
               verdict = iif(LATE, verdict, excluded.verdict),
               interval_ms = iif(LATE, interval_ms, excluded.interval_ms),
               last_due_ms = iif(LATE, last_due_ms, excluded.last_due_ms),
               first_due_ms = min(first_due_ms, excluded.first_due_ms)"
            .replace("LATE", LATE);
        let state = connection.prepare(&state)?;
        Ok(RowWriter { connection, outcome, state, ids })
    }

    fn write_record(
        &mut self,
        record: &Record,
        now_ms: i64,
        written: &mut WriteCounts,
    ) -> rusqlite::Result<()> {
        match record {
            Record::Check(outcome) => {
                if self.write_check(outcome, now_ms)? {
                    written.checks += 1;
                } else {
                    written.repeats += 1;
                }
                Ok(())
            }
            Record::Gap(gap) => self.write_gap(gap),
            Record::Loss(loss) => {
                let node = self.node_id(&loss.node)?;
                write_loss(self.connection, node, loss)
            }
            Record::Node(state) => self.write_node(state, now_ms),
            Record::Target(state) => self.write_target(state, now_ms),
        }
    }

    /// Stores a check; returns true if the check is new.
    fn write_check(&mut self, o: &Outcome, now_ms: i64) -> rusqlite::Result<bool> {
        let (target, node) = (self.target_id(&o.target)?, self.node_id(&o.node)?);
        let new = self.outcome.execute(params![
            o.due_ms,
            target,
            node,
            o.run,
            o.lag_us,
            o.interval_ms,
            o.verdict.as_str(),
            o.cause.map(Cause::as_str),
            o.responded,
            o.status,
            o.status_ok,
            o.match_ok,
            o.phases.dns_us.map(signed),
            o.phases.connect_us.map(signed),
            o.phases.tls_us.map(signed),
            o.phases.first_byte_us.map(signed),
            o.phases.transfer_us.map(signed),
            signed(o.total_us),
            o.address,
            o.http,
            o.redirects,
            signed(o.bytes),
            o.attempts,
            o.matched,
            o.excerpt,
            o.error,
            o.cert_expires_s,
            o.chain_expires_s,
            o.reused,
            (!o.hops.is_empty()).then(|| encode_hops(&o.hops)),
        ])?;
        if new > 0 {
            let verdict = o.verdict.as_str();
            let (due_ms, interval_ms) = (o.due_ms, o.interval_ms);
            self.state.execute(params![
                target,
                node,
                verdict,
                due_ms,
                interval_ms,
                now_ms + AHEAD_MS
            ])?;
        }
        Ok(new > 0)
    }

    fn write_gap(&mut self, gap: &Gap) -> rusqlite::Result<()> {
        let (target, node) = (self.target_id(&gap.target)?, self.node_id(&gap.node)?);
        self.connection.execute(
            "INSERT INTO gap VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            params![
                gap.from_ms,
                target,
                node,
                gap.run,
                gap.to_ms,
                signed(gap.count),
                gap.interval_ms,
                gap.cause.as_str(),
            ],
        )?;
        Ok(())
    }

    fn write_node(&mut self, state: &NodeState, now_ms: i64) -> rusqlite::Result<()> {
        let id = self.node_id(&state.node)?;
        self.connection.execute(
            "UPDATE node SET run = ?1, version = ?2, sent_ms = ?3, seen_ms = ?4,
               previous_run = ?7, last_due_ms = ?8, spool_count = ?9, spool_oldest_ms = ?10,
               clock_synced = ?11
             WHERE id = ?5 AND (sent_ms IS NULL OR sent_ms <= ?3 OR sent_ms > ?6)",
            params![
                state.run,
                state.version,
                state.sent_ms,
                now_ms,
                id,
                now_ms + AHEAD_MS,
                state.previous_run,
                state.last_due_ms,
                state.spool_count.map(signed),
                state.spool_oldest_ms,
                state.clock_synced,
            ],
        )?;
        Ok(())
    }

    fn write_target(&mut self, state: &TargetState, now_ms: i64) -> rusqlite::Result<()> {
        let id = self.target_id(&state.target)?;
        self.connection.execute(
            "UPDATE target SET url = ?1, method = ?2, expected_status = ?3, \"match\" = ?4,
               reject = ?5, interval_ms = ?6, labels = ?7, sent_ms = ?8
             WHERE id = ?9 AND (sent_ms IS NULL OR sent_ms <= ?8 OR sent_ms > ?10)",
            params![
                state.url,
                state.method,
                state.expected_status,
                state.matches,
                state.rejects,
                state.interval_ms,
                encode_labels(&state.labels),
                state.sent_ms,
                id,
                now_ms + AHEAD_MS,
            ],
        )?;
        Ok(())
    }

    fn target_id(&mut self, name: &Arc<str>) -> rusqlite::Result<i64> {
        self.ids.target(self.connection, name)
    }

    fn node_id(&mut self, name: &Arc<str>) -> rusqlite::Result<i64> {
        self.ids.node(self.connection, name)
    }
}

/// Stores a loss; a stored loss of the same key grows.
fn write_loss(connection: &Connection, node: i64, loss: &Loss) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO loss (node_id, run, from_ms, cause, sequence, to_ms, count)
         VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET to_ms = max(to_ms, excluded.to_ms),
                                   count = max(count, excluded.count)",
        params![
            node,
            loss.run,
            loss.from_ms,
            loss.cause.as_str(),
            loss.sequence,
            loss.to_ms,
            signed(loss.count)
        ],
    )?;
    Ok(())
}
