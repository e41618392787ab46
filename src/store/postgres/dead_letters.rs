//! Stores messages that could not be read, for a person to look into.

use super::error::PostgresError;
use super::session::Session;
use crate::model::outcome::tidy;
use crate::store::batch::{Batch, DeadLetter};

/// Longest payload of a dead letter that is kept, in bytes; the rest is cut off.
const PAYLOAD_MAX: usize = 64 * 1024;
/// Size of the pieces in which dead letters are sent, about, in bytes.
const PIECE: usize = 1024 * 1024;

const DEAD: &str = "INSERT INTO dead_letter
        (cluster, topic, partition, record_offset, received_at, reason, detail, payload, sent_ms)
    SELECT $1, $2, p, o, to_timestamp($3), r, d, b, s FROM
        unnest($4::int4[], $5::int8[], $6::text[], $7::text[], $8::bytea[], $9::int8[])
        AS new (p, o, r, d, b, s)
    ON CONFLICT DO NOTHING";

/// Stores messages that could not be read.
pub async fn store_dead_letters(
    session: &mut Session,
    batch: &Batch,
    now_ms: i64,
) -> Result<(), PostgresError> {
    let mut letters: Vec<&DeadLetter> = batch.dead.iter().collect();
    letters.sort_by_key(|letter| letter.origin);
    let mut rest = &letters[..];
    while !rest.is_empty() {
        let mut bytes = 0;
        let fitting = rest.iter().take_while(|letter| {
            let fits = bytes < PIECE;
            bytes += letter.payload.len().min(PAYLOAD_MAX) + letter.detail.len();
            fits
        });
        let (piece, after) = rest.split_at(fitting.count());
        rest = after;
        let partitions: Vec<i32> = piece.iter().map(|letter| letter.origin.partition).collect();
        let offsets: Vec<i64> = piece.iter().map(|letter| letter.origin.offset).collect();
        let sent: Vec<i64> = piece.iter().map(|letter| letter.origin.sent_ms).collect();
        let reasons: Vec<&str> = piece.iter().map(|letter| letter.reason).collect();
        let details: Vec<String> = piece.iter().map(|l| tidy(&l.detail, PAYLOAD_MAX)).collect();
        let payloads: Vec<&[u8]> =
            piece.iter().map(|l| &l.payload[..l.payload.len().min(PAYLOAD_MAX)]).collect();
        let now_s = now_ms as f64 / 1000.0;
        session
            .execute(
                DEAD,
                &[
                    &batch.cluster,
                    &batch.topic,
                    &now_s,
                    &partitions,
                    &offsets,
                    &reasons,
                    &details,
                    &payloads,
                    &sent,
                ],
            )
            .await?;
    }
    Ok(())
}
