//! Searches the CA certificates to trust, for checks, Kafka and PostgreSQL alike. The search lives in one
//! file, so that all three trust the same. It takes only the first of these that is set or found: a file
//! that the user names; the file and folders in `SSL_CERT_FILE` and `SSL_CERT_DIR`; the host's own bundle,
//! or else its folder; Mozilla's roots, which are compiled in, since a bare router has none.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use openssl::hash::MessageDigest;
use openssl::x509::X509;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use crate::error::{Context, Error};

/// Day on which the compiled-in version of Mozilla's roots was published. Their crate has no date in it, so
/// a test checks that this date belongs to the crate's version.
pub const MOZILLA_DATE: &str = "2026-10-23";

/// Origin of certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RootsOrigin {
    Environment,
    File(PathBuf),
    Folder(PathBuf),
    Mozilla,
}

impl fmt::Display for RootsOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RootsOrigin::Environment => f.write_str("that SSL_CERT_FILE and SSL_CERT_DIR name"),
            RootsOrigin::File(path) | RootsOrigin::Folder(path) => {
                write!(f, "of {}", path.display())
            }
            RootsOrigin::Mozilla => write!(f, "of Mozilla as of {MOZILLA_DATE}, compiled in"),
        }
    }
}

/// Reads the certificates to trust, at least one: those of `ca_file` alone, or else this host's. Each call
/// reads them again and keeps none: the caller keeps them in the form that it needs.
///
/// # Errors
/// The file or folder that the user names cannot be read or holds no certificate; no other one is taken in
/// its place.
pub fn load(ca_file: Option<&Path>) -> Result<Vec<X509>, Error> {
    if let Some(path) = ca_file {
        return read(path);
    }
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let (file, folders) = (named("SSL_CERT_FILE"), named("SSL_CERT_DIR"));
    let (certificates, origin) = if file.is_some() || folders.is_some() {
        (read_environment(file, folders)?, RootsOrigin::Environment)
    } else {
        read_host()
    };
    // Only the first call logs this, or the log would have the line for each connection.
    static LOGGED: Once = Once::new();
    LOGGED.call_once(|| log::debug!("roots: {} {origin}", certificates.len()));
    Ok(certificates)
}

/// Returns the number of roots that are compiled in.
pub fn mozilla_count() -> usize {
    TLS_SERVER_ROOT_CERTS.len()
}

/// Reads the certificates of a PEM file; at least one.
fn read(path: &Path) -> Result<Vec<X509>, Error> {
    let what = || format!("read CA certificates from {}", path.display());
    let pem = std::fs::read(path).cannot(what())?;
    let certificates = X509::stack_from_pem(&pem).cannot(what())?;
    if certificates.is_empty() {
        return Err("no certificate in PEM form in it").cannot(what());
    }
    Ok(certificates)
}

/// Reads the certificates that the two variables name. As with OpenSSL, one of the two may be of no use; a
/// file that is of no use is logged as a warning.
fn read_environment(file: Option<OsString>, folders: Option<OsString>) -> Result<Vec<X509>, Error> {
    let mut certificates = Vec::new();
    for folder in folders.iter().flat_map(std::env::split_paths) {
        certificates.extend(read_folder(&folder));
    }
    let read = file.map(|file| {
        read(file.as_ref()).map_err(|error| Error::new(format!("{error}: SSL_CERT_FILE names it")))
    });
    match read {
        Some(Ok(found)) => certificates.extend(found),
        Some(Err(error)) if certificates.is_empty() => return Err(error),
        Some(Err(error)) => {
            static LOGGED: Once = Once::new();
            LOGGED.call_once(|| log::warn!("{error}; trusting only what SSL_CERT_DIR names"));
        }
        None if certificates.is_empty() => {
            let folders = folders.unwrap_or_default();
            let what = format!("read CA certificates from {}", Path::new(&folders).display());
            return Err("no certificate in PEM form in it: SSL_CERT_DIR names it").cannot(what);
        }
        None => {}
    }
    // Most users who set both variables name the same certificates twice.
    Ok(remove_repeats(certificates))
}

/// Reads the first bundle of this host, or else every file of the first folder with a certificate, or else
/// takes Mozilla's roots. A bundle that exists but is of no use is logged as a warning: the owner of the
/// host wants it to be trusted.
fn read_host() -> (Vec<X509>, RootsOrigin) {
    let found = openssl_probe::probe();
    let damaged = match found.cert_file.map(|path| (read(&path), path)) {
        Some((Ok(certificates), path)) => return (certificates, RootsOrigin::File(path)),
        Some((Err(error), _)) => Some(error),
        None => None,
    };
    let mut folders = found.cert_dir.into_iter().map(|path| (read_folder(&path), path));
    let filled = folders.find(|(certificates, _)| !certificates.is_empty());
    let (certificates, origin) = filled
        .map(|(certificates, path)| (certificates, RootsOrigin::Folder(path)))
        .unwrap_or_else(|| (mozilla(), RootsOrigin::Mozilla));
    if let Some(error) = damaged {
        static LOGGED: Once = Once::new();
        LOGGED
            .call_once(|| log::warn!("{error}; trusting {} {origin} instead", certificates.len()));
    }
    (certificates, origin)
}

/// Returns the roots that are compiled in. They are whole certificates, since OpenSSL takes no less.
fn mozilla() -> Vec<X509> {
    TLS_SERVER_ROOT_CERTS.iter().filter_map(|der| X509::from_der(der).ok()).collect()
}

/// Reads the certificates of every file of a folder, each once (in most folders, a file has a second name as
/// a link); empty if there is nothing to read.
fn read_folder(folder: &Path) -> Vec<X509> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    remove_repeats(entries.flat_map(|entry| read_file(&entry.path())).collect())
}

/// Removes repeated certificates; the first of each stays.
fn remove_repeats(mut certificates: Vec<X509>) -> Vec<X509> {
    let mut seen = HashSet::new();
    certificates.retain(|certificate| {
        certificate.digest(MessageDigest::sha256()).is_ok_and(|digest| seen.insert(digest.to_vec()))
    });
    certificates
}

/// Reads the certificates of a PEM file; empty if the file is none.
fn read_file(path: &Path) -> Vec<X509> {
    let pem = std::fs::read(path).unwrap_or_default();
    X509::stack_from_pem(&pem).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use openssl::stack::Stack;
    use openssl::x509::X509StoreContext;
    use openssl::x509::store::X509StoreBuilder;

    use super::*;

    #[test]
    fn each_compiled_in_root_is_a_ca_that_trusts_itself() {
        let roots = mozilla();
        assert_eq!(roots.len(), mozilla_count());
        assert!(roots.len() > 100, "{}", roots.len());
        let mut store = X509StoreBuilder::new().unwrap();
        for root in &roots {
            store.add_cert(root.clone()).unwrap();
        }
        let store = store.build();
        let mut names = Vec::new();
        for root in &roots {
            let name = root.subject_name().entries().last().unwrap().data().to_string().unwrap();
            let mut context = X509StoreContext::new().unwrap();
            let none = Stack::new().unwrap();
            let (good, why) = context
                .init(&store, root, &none, |context| Ok((context.verify_cert()?, context.error())))
                .unwrap();
            assert!(good, "{name}: {why}");
            // A CA: it may sign others, or OpenSSL would not say that it has issued itself.
            assert_eq!(root.issued(root), openssl::x509::X509VerifyResult::OK, "{name}");
            let text = String::from_utf8(root.to_text().unwrap()).unwrap();
            assert!(text.contains("CA:TRUE"), "{name}");
            names.push(name);
        }
        assert!(names.iter().any(|name| name == "ISRG Root X1"), "{names:?}");
    }

    #[test]
    fn the_date_is_of_the_version_that_is_built_in() {
        // A new version: look up when it was published (`pubtime` in cargo's index), then set
        // the date and this.
        let lock = std::fs::read_to_string("Cargo.lock").unwrap();
        let (_, rest) = lock.split_once("name = \"webpki-root-certs\"\nversion = ").unwrap();
        let version = rest.lines().next().unwrap().trim_matches('"');
        assert_eq!((version, MOZILLA_DATE), ("1.0.11", "2026-10-23"));
    }

    #[test]
    fn a_folder_counts_each_certificate_once() {
        let folder = std::env::temp_dir().join(format!("sitewatch-roots-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let roots = mozilla();
        for (name, root) in [("a.pem", 0), ("b.pem", 1), ("a.0", 0)] {
            std::fs::write(folder.join(name), roots[root].to_pem().unwrap()).unwrap();
        }
        std::fs::write(folder.join("README"), "no certificate").unwrap();
        let found = read_folder(&folder).len();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, 2);
    }
}
