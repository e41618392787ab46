//! `sitewatch config`: checks and prints the configuration.

use super::{FINE, print, surroundings};
use crate::args::{self, CommonOptions};
use crate::character::clean_lines;
use crate::config::{self, EXAMPLE, Need};
use crate::error::Error;
use crate::show::text::show_count;

/// Checks the configuration, prints it, or prints the example. Remarks follow the line that says it is fine,
/// one a line, and leave the exit code as it is.
///
/// # Errors
/// Every fault of the files, one a line.
pub fn config(common: &CommonOptions, what: args::ConfigTask) -> Result<u8, Error> {
    if what == args::ConfigTask::Example {
        return print(EXAMPLE).map(|()| FINE);
    }
    let (environment, paths) = surroundings(common)?;
    let config = config::read(&paths, &environment, Need::Any)
        .map_err(|faults| Error::new(faults.to_string()))?;
    match what {
        args::ConfigTask::Print => print(&config::print(&config)),
        _ => {
            let kafka = if config.kafka.is_some() { ", [kafka]" } else { "" };
            let postgres = if config.postgres.is_some() { ", [postgres]" } else { "" };
            let targets = show_count(config.targets.len() as u64, "target");
            let remarks: String = config.remarks.iter().map(|it| format!("{it}\n")).collect();
            let remarks = clean_lines(&remarks);
            print(&format!("fine: {targets}{kafka}{postgres}\n{remarks}"))
        }
    }?;
    Ok(FINE)
}
