//! Messages from the judge to the stage that sends or stores.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::model::record::Record;
use crate::model::target::Target;

/// Function that hands records to the next stage, and waits while there is no room. Breaks once nobody takes
/// any more.
pub type OutputSink = Box<dyn Fn(JudgeOutput) -> ControlFlow<()> + Send>;

/// Output of the judge.
pub enum JudgeOutput {
    /// Records, in the order in which they were settled.
    Records(Vec<Record>),
    /// Targets that all later records are about, and the number of their run: the next stage announces both.
    Targets(Vec<Arc<Target>>, u32),
}
