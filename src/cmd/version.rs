//! `sitewatch --version`: prints the versions of the program and of its libraries.

use super::{FINE, print};
use crate::error::Error;
use crate::roots;

/// Prints the version. Verbose: also the version of every library that is linked in, the commit, compiler and
/// target of the build, and the age of the compiled-in roots. One line each, the name first, so that a script
/// can take a line by its name.
///
/// # Errors
/// stdout cannot be written.
pub fn version(verbose: bool) -> Result<u8, Error> {
    let mut text = format!("sitewatch {}\n", env!("CARGO_PKG_VERSION"));
    if verbose {
        let curl = curl::Version::get();
        text += &format!("commit   {}\n", option_env!("SITEWATCH_COMMIT").unwrap_or("unknown"));
        text += &format!("rustc    {}\n", option_env!("SITEWATCH_RUSTC").unwrap_or("unknown"));
        text += &format!("target   {}\n", env!("SITEWATCH_TARGET"));
        text += &format!("rdkafka  {}\n", rdkafka::util::get_rdkafka_version().1);
        text += &format!("libcurl  {}\n", curl.version());
        text += &format!("openssl  {}\n", openssl::version::version());
        text += &format!("nghttp2  {}\n", curl.nghttp2_version().unwrap_or("none"));
        text += &format!("zlib     {}\n", curl.libz_version().unwrap_or("none"));
        text += &format!("sqlite   {}\n", rusqlite::version());
        let (date, count) = (roots::MOZILLA_DATE, roots::mozilla_count());
        text += &format!("roots    Mozilla {date}, {count} certificates\n");
    }
    print(&text)?;
    Ok(FINE)
}
