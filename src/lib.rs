//! sitewatch: watches websites from small machines.

pub mod check;
pub mod config;
pub mod model;
pub mod store;

pub mod clock;
pub mod error;
pub mod stop;
