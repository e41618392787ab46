//! sitewatch: watches websites from small machines.

pub mod config;
pub mod error;
pub mod model;
pub mod show;
