//! Our certificate, its private key, and the password that opens that: three settings that belong together.

use std::sync::Arc;

use crate::config::pem::PairFault;
use crate::config::toml::item::Item;
use crate::config::toml::table::{Section, Setting};
use crate::model::connect::Identity;
use crate::model::secret::Secret;

/// Values of the three settings.
#[derive(Default)]
pub(in crate::config) struct IdentityKeys {
    /// True if at least one of the three is set, right or not.
    pub any: bool,
    /// Certificate and private key, if both are right.
    pub identity: Option<Arc<Identity>>,
}

impl IdentityKeys {
    /// Reads `cert_file`, `key_file` and `key_password` of a section. A missing one, or files that do not go
    /// together, are a fault.
    pub fn read(section: &mut Section<'_>) -> IdentityKeys {
        let (has_cert, has_key) = (section.has("cert_file"), section.has("key_file"));
        let has_password = section.has("key_password");
        let any = has_cert || has_key || has_password;
        let cert_file = section.read_setting("cert_file", Item::file);
        let key_file = section.read_setting("key_file", Item::file);
        let key_password = section.read_setting("key_password", Item::secret);
        if let (Some(set), false) = (&cert_file, has_key) {
            section.fault_at(set.at, "cert_file without key_file: a certificate needs its key");
        }
        if let (Some(set), false) = (&key_file, has_cert) {
            section.fault_at(set.at, "key_file without cert_file: a key needs its certificate");
        }
        if let (Some(set), false) = (&key_password, has_key) {
            section.fault_at(set.at, "key_password without key_file: there is no key to open");
        }
        if let (Some(cert), Some(key)) = (&cert_file, &key_file) {
            let password = key_password.as_ref().map(|set| set.value.as_str());
            match section.pem().check_pair(&cert.value, &key.value, password) {
                // A password that is there but wrong has its fault already.
                Err(PairFault::Key(_)) if key_password.is_none() && has_password => {}
                Err(PairFault::Key(why)) => section.fault_at(key.at, format!("key_file {why}")),
                Err(PairFault::Certificate(why)) => {
                    section.fault_at(cert.at, format!("cert_file {why}"));
                }
                Err(PairFault::Password) => {
                    let at = key_password.as_ref().map_or(key.at, |set| set.at);
                    section.fault_at(at, "key_password does not open key_file");
                }
                Ok(()) => {}
            }
        }
        fn value<T>(set: Option<Setting<'_, T>>) -> Option<T> {
            set.map(|set| set.value)
        }
        let key_password = value(key_password).map(Secret);
        let files = value(cert_file).zip(value(key_file));
        let identity = files
            .map(|(cert_file, key_file)| Arc::new(Identity { cert_file, key_file, key_password }));
        IdentityKeys { any, identity }
    }
}
