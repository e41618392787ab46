//! Messages between stages. A stage knows these, and never the stage at the other end.

mod checks;
mod parcels;
mod records;

pub use checks::{Answer, Control, Failed, Found, Judged, Line, Plan, draw_run};
pub use parcels::{Question, StoreAnswer, Work};
pub use records::{Give, Given};
