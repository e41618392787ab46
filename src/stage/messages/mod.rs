//! Messages between stages. A stage knows these, and never the stage at the other end.

mod checks;
mod parcels;
mod records;
mod run;

pub use checks::{
    Decision, DecisionSender, EndedAttempt, FailedAttempt, Finding, Plan, SchedulerHandle,
};
pub use parcels::{PositionRequest, StoreReply, StoreRequest};
pub use records::{JudgeOutput, OutputSink};
pub use run::{Run, draw_run};
