//! TOML as far as every table needs it: files and places in them, tables and values of a type, texts that `${...}`
//! stands for, and the list of faults. Apart from the tables of the configuration, which know keys and bounds.

pub(in crate::config) mod context;
pub(in crate::config) mod fault;
pub(in crate::config) mod insertion;
pub(in crate::config) mod item;
pub(in crate::config) mod login;
pub(in crate::config) mod source;
pub(in crate::config) mod syntax;
pub(in crate::config) mod table;
