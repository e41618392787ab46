//! `sitewatch --version`.

use super::{FINE, print};
use crate::error::Error;

/// Prints the version; verbose: of every library, and what it was built from.
///
/// # Errors
/// stdout cannot be written.
pub fn version(verbose: bool) -> Result<u8, Error> {
    let mut text = format!("sitewatch {}\n", env!("CARGO_PKG_VERSION"));
    if verbose {
        let curl = curl::Version::get();
        text += &format!("commit   {}\n", option_env!("SITEWATCH_COMMIT").unwrap_or("unknown"));
        text += &format!("rustc    {}\n", option_env!("SITEWATCH_RUSTC").unwrap_or("unknown"));
        text += &format!("rdkafka  {}\n", rdkafka::util::get_rdkafka_version().1);
        text += &format!("libcurl  {}\n", curl.version());
        text += &format!("openssl  {}\n", openssl::version::version());
        text += &format!("nghttp2  {}\n", curl.nghttp2_version().unwrap_or("none"));
        text += &format!("zlib     {}\n", curl.libz_version().unwrap_or("none"));
        text += &format!("sqlite   {}\n", rusqlite::version());
    }
    print(&text)?;
    Ok(FINE)
}
