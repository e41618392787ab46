//! Messages between the stage that reads from Kafka and the one that stores in PostgreSQL.

use crate::store::{Batch, Mark, Position};

/// Request of the consumer to the writer.
pub enum StoreRequest {
    /// Batch to be stored.
    Batch(Box<Batch>),
    /// Request for the offsets to go on at.
    Positions(PositionRequest),
}

/// Request for the offsets to go on at, in partitions of a topic.
pub struct PositionRequest {
    /// Id that the cluster gives itself.
    pub cluster: String,
    /// Name of the topic.
    pub topic: String,
    /// Numbers of the partitions.
    pub partitions: Vec<i32>,
}

/// Reply of the writer to the consumer.
pub enum StoreReply {
    /// The store is ready for work.
    Ready,
    /// The batch is stored, up to these marks.
    Stored(Vec<Mark>),
    /// The batch waits for the next one: the two are stored together. If not `takes_more`, the writer has all
    /// that it can hold: hand over no more before another reply.
    Deferred {
        /// The writer can hold another batch.
        takes_more: bool,
    },
    /// The store is older than the batch, whose records are stored without their marks: ask for the offsets
    /// to go on at.
    Outdated,
    /// Offsets to go on at, of each partition that was asked for; 0: nothing of the partition is stored.
    Positions(Vec<(i32, Position)>),
    /// Nothing can be stored: fetch nothing more for now. Has the word of `/health`.
    Away(&'static str),
    /// Batches can be stored again.
    Back,
    /// The connection to the store is a new one: the database may be older than what was stored.
    Reconnected,
    /// Something is in doubt (true) or no longer (false), while reading goes on. Has the word of `/health`.
    Doubt(&'static str, bool),
}
