//! Messages between stages. A stage knows these, and never the stage at the other end.

mod checks;
mod parcels;
mod records;

pub use checks::{
    Decision, DecisionSender, EndedAttempt, FailedAttempt, Finding, Plan, SchedulerHandle, draw_run,
};
pub use parcels::{PositionRequest, StoreReply, StoreRequest};
pub use records::{JudgeOutput, OutputSink};
