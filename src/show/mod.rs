//! Texts for people and programs. Data and a time go in, text comes out; nothing here prints or reads a
//! clock, so a test compares whole screens and needs no terminal; `terminal` alone asks the system, for the
//! terminal's size.

mod block;
mod display;
pub mod figure;
pub mod health;
mod row;
#[cfg(test)]
mod sample;
pub mod screen;
pub mod spark;
pub mod status;
pub mod terminal;
pub mod text;
pub mod time;
pub mod waterfall;
