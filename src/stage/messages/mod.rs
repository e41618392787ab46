//! Messages between stages. A stage knows these, and never the stage at the other end.

mod batches;
mod checks;
mod records;
mod run;

pub use batches::{PositionRequest, StoreReply, StoreRequest};
pub use checks::{
    Decision, DecisionSender, EndedAttempt, FailedAttempt, Finding, Plan, SchedulerHandle,
};
pub use records::{JudgeOutput, OutputSink};
pub use run::{Run, draw_run};
