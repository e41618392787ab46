//! Kafka: the client's settings, a publisher for the edge, a reader for the centre. Both report through a
//! [`Link`] when the brokers become unreachable or reachable, once per change.

mod consume;
mod diagnose;
mod fresh;
mod link;
mod publish;
mod settings;
mod topic;

pub use consume::{Message, Reader, Turn};
pub use diagnose::refusal;
pub use fresh::answers;
pub use link::{Change, Link};
pub use publish::{Delivery, Publisher};
pub use settings::Batching;
pub use topic::{Topic, ensure};
