//! Writes records as rows: one transaction a batch. Keys absorb records that come again.

use std::sync::Arc;

use rusqlite::{
    Connection, OptionalExtension, Statement, Transaction, TransactionBehavior, params,
};

use super::expire::expire;
use super::ids::RowIds;
use super::read;
use crate::model::outcome::{Cause, Gap, Loss, Outcome};
use crate::model::record::{NodeState, Record, TargetState};
use crate::model::standing::{AHEAD_MS, NodeStanding, Observation};
use crate::model::wire::{encode_hops, encode_labels};
use crate::store::batch::WriteCounts;
use crate::store::columns::signed;

const OUTCOME: &str = "INSERT INTO outcome (due_ms, target_id, node_id, run, lag_us, interval_ms,
        verdict, cause, responded, status, status_ok, match_ok, dns_us, connect_us, tls_us,
        first_byte_us, transfer_us, total_us, address, http, redirects, bytes, attempts, matched,
        excerpt, error, cert_expires_s, chain_expires_s, reused, hops)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
        ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30)
    ON CONFLICT DO NOTHING";

const STATE: &str = "SELECT verdict, since_ms, last_due_ms, interval_ms, first_due_ms FROM state
    WHERE target_id = ? AND node_id = ?";

const NEW_STATE: &str = "INSERT OR REPLACE INTO state
        (target_id, node_id, verdict, since_ms, last_due_ms, interval_ms, first_due_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?)";

/// Stores records, and brings the file back within its largest size.
pub fn write_records(
    connection: &mut Connection,
    known: &mut RowIds,
    max_size: u64,
    records: &[Record],
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

/// Prepared statements of one transaction.
struct RowWriter<'c> {
    connection: &'c Connection,
    outcome: Statement<'c>,
    state: Statement<'c>,
    new_state: Statement<'c>,
    ids: &'c mut RowIds,
}

impl<'c> RowWriter<'c> {
    fn new(
        connection: &'c Transaction<'_>,
        ids: &'c mut RowIds,
    ) -> rusqlite::Result<RowWriter<'c>> {
        let outcome = connection.prepare(OUTCOME)?;
        let state = connection.prepare(STATE)?;
        let new_state = connection.prepare(NEW_STATE)?;
        Ok(RowWriter { connection, outcome, state, new_state, ids })
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
        let target = self.target_id(&o.target)?;
        let node = self.node_id(&o.node)?;
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
            self.update_state(target, node, o, now_ms)?;
        }
        Ok(new > 0)
    }

    /// Updates the state of a target on a node from a new check.
    fn update_state(
        &mut self,
        target: i64,
        node: i64,
        o: &Outcome,
        now_ms: i64,
    ) -> rusqlite::Result<()> {
        let before = self.state.query_row([target, node], read::state).optional()?;
        let (after, _) = NodeStanding::advance(before, Observation::from(o), now_ms);
        if before != Some(after) {
            self.new_state.execute(params![
                target,
                node,
                after.verdict.as_str(),
                after.since_ms,
                after.last_due_ms,
                after.interval_ms,
                after.first_due_ms,
            ])?;
        }
        Ok(())
    }

    fn write_gap(&mut self, gap: &Gap) -> rusqlite::Result<()> {
        let target = self.target_id(&gap.target)?;
        let node = self.node_id(&gap.node)?;
        self.connection.execute(
            "INSERT INTO gap (from_ms, target_id, node_id, run, to_ms, count, interval_ms, cause)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
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
