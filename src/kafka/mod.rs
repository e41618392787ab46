//! Kafka: the client's settings, a publisher for the edge, a reader for the centre. Both report through a
//! [`BrokerStatus`] when the brokers become unreachable or reachable, once per change.

mod consume;
mod diagnose;
mod fresh;
mod link;
mod publish;
mod settings;
mod topic;

pub use consume::{ConsumerEvent, GroupConsumer, Message};
pub use diagnose::refusal;
pub use fresh::answers_new_client;
pub use link::{BrokerStatus, StatusChange};
pub use publish::{Delivery, TopicProducer};
pub use settings::Batching;
pub use topic::{Topic, ensure};
