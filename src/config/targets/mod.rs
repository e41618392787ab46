//! Targets: the keys of `[[target]]` and `[defaults]`, and the way from them to a
//! [`Target`](crate::model::target::Target).

pub(in crate::config) mod address;
mod connect;
pub(in crate::config) mod keys;
pub(in crate::config) mod tcp;
pub(in crate::config) mod values;
