#![doc = include_str!("README.md")]

pub mod args;
pub mod cmd;

pub mod stage;

pub mod check;
pub mod kafka;
pub mod serve;
pub mod show;
pub mod store;

pub mod config;
pub mod roots;

pub mod model;

pub mod clock;
pub mod error;
pub mod log;
pub mod stop;
pub mod threads;

#[cfg(all(target_env = "musl", target_feature = "crt-static", target_pointer_width = "64"))]
mod allocator;
pub mod character;
pub mod date;
pub mod json;
pub mod words;
