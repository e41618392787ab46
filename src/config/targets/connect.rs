//! Keys of a target for its connection: address, proxy, TLS and HTTP version, and our login and certificate.

use std::net::IpAddr;
use std::sync::Arc;

use url::Url;

use crate::config::identity::IdentityKeys;
use crate::config::targets::address::{self, is_host};
use crate::config::toml::context::ReadContext;
use crate::config::toml::fault::quoted;
use crate::config::toml::item::Item;
use crate::config::toml::login;
use crate::config::toml::table::{Section, Setting};
use crate::model::connect::{Connect, Family, HttpVersion, Proxy, TlsVersion};
use crate::model::secret::{Login, Secret};
use crate::model::target::Target;
use crate::words::Word;

/// Longest name of an interface or a server, in characters.
const NAME_MAX: usize = 255;
/// Schemes of the proxies that we can speak to.
const PROXIES: [&str; 3] = ["http", "socks5", "socks5h"];

/// Values that a `[[target]]` or `[defaults]` sets.
#[derive(Default)]
pub(in crate::config) struct ConnectKeys<'a> {
    family: Option<Setting<'a, Family>>,
    resolve: Option<Setting<'a, IpAddr>>,
    interface: Option<String>,
    /// Proxy; set to none: no proxy, whatever the defaults say.
    proxy: Option<Option<Arc<Proxy>>>,
    identity: IdentityKeys,
    server_name: Option<String>,
    tls_min: Option<TlsVersion>,
    tls_legacy: Option<bool>,
    http: Option<HttpVersion>,
    tls: Option<bool>,
    reuse: Option<bool>,
    auth: Option<Setting<'a, Auth>>,
}

/// Login in the request.
#[derive(Clone)]
enum Auth {
    Basic(Login),
    Bearer(Secret),
}

impl<'a> ConnectKeys<'a> {
    pub fn read(section: &mut Section<'a>) -> ConnectKeys<'a> {
        let auth = section.read_setting("basic", read_basic);
        let bearer = section.read_setting("bearer", read_bearer);
        if let (Some(_), Some(bearer)) = (&auth, &bearer) {
            section.fault_at(bearer.at, "bearer beside basic: one request has one of them");
        }
        ConnectKeys {
            family: section.read_setting("family", read_family),
            resolve: section.read_setting("resolve", read_resolve),
            interface: section.read("interface", |it| it.words(1, NAME_MAX)),
            proxy: section.read("proxy", read_proxy),
            identity: IdentityKeys::read(section),
            server_name: section.read("server_name", read_server_name),
            tls_min: section.read("tls_min", |it| it.choice(&TlsVersion::choices())),
            tls_legacy: section.read("tls_legacy", Item::boolean),
            http: section.read("http", |it| it.choice(&HttpVersion::choices())),
            tls: section.read("tls", Item::boolean),
            reuse: section.read("reuse", Item::boolean),
            auth: auth.or(bearer),
        }
    }

    /// Puts the values that are set here, else in `defaults`, into `target`, which has its URL and its
    /// headers.
    pub fn apply_to(&self, defaults: &ConnectKeys<'a>, target: &mut Target) {
        fn value<T: Clone>(
            own: &Option<Setting<'_, T>>,
            default: &Option<Setting<'_, T>>,
        ) -> Option<T> {
            own.as_ref().or(default.as_ref()).map(|set| set.value.clone())
        }
        fn plain<T: Clone>(own: &Option<T>, default: &Option<T>) -> Option<T> {
            own.as_ref().or(default.as_ref()).cloned()
        }
        let identity = if self.identity.any { &self.identity } else { &defaults.identity };
        target.connect = Connect {
            family: value(&self.family, &defaults.family).unwrap_or_default(),
            resolve: value(&self.resolve, &defaults.resolve),
            interface: plain(&self.interface, &defaults.interface),
            proxy: plain(&self.proxy, &defaults.proxy).flatten(),
            identity: identity.identity.clone(),
            server_name: plain(&self.server_name, &defaults.server_name),
            tls_min: plain(&self.tls_min, &defaults.tls_min).unwrap_or_default(),
            tls_legacy: plain(&self.tls_legacy, &defaults.tls_legacy).unwrap_or_default(),
            http: plain(&self.http, &defaults.http).unwrap_or_default(),
            tls: plain(&self.tls, &defaults.tls).unwrap_or_default(),
            reuse: plain(&self.reuse, &defaults.reuse).unwrap_or_default(),
        };
        // The URL's login and a header of the target's own come before a default.
        let told = target.login.is_some() || has_authorization(target);
        let default = defaults.auth.as_ref().filter(|_| !told);
        match self.auth.as_ref().or(default).map(|set| &set.value) {
            Some(Auth::Basic(login)) => target.login = Some(login.clone()),
            Some(Auth::Bearer(token)) => target.bearer = Some(token.clone()),
            None => {}
        }
    }

    /// Reports keys that are each right, but not together. `has_login`: the URL holds a login.
    pub fn check_combinations(
        &self,
        defaults: &ConnectKeys<'a>,
        target: &Target,
        has_login: bool,
        context: &ReadContext<'a>,
    ) {
        if let Some(auth) = &self.auth {
            let name = match auth.value {
                Auth::Basic(_) => "basic",
                Auth::Bearer(_) => "bearer",
            };
            let other = match (has_login, has_authorization(target)) {
                (true, _) => Some("a user in the url"),
                (_, true) => Some("a header Authorization"),
                _ => None,
            };
            if let Some(other) = other {
                context
                    .fault(auth.at, format!("{name} beside {other}: one request has one of them"));
            }
        }
        let Connect { family, resolve: Some(address), .. } = target.connect else { return };
        let place = self.resolve.as_ref().map(|set| set.at);
        let place = place.or(self.family.as_ref().map(|set| set.at));
        let place = place.or(defaults.resolve.as_ref().map(|set| set.at));
        if let (Some(at), false) = (place, family.has(address)) {
            context.fault(
                at,
                format!("resolve {address} is no address of the family that is asked for"),
            );
        }
    }
}

fn has_authorization(target: &Target) -> bool {
    target.headers.iter().any(|header| header.name.eq_ignore_ascii_case("authorization"))
}

fn read_family(item: Item<'_>) -> Option<Family> {
    match item.integer() {
        Some(4) => Some(Family::V4),
        Some(6) => Some(Family::V6),
        _ => item.choice(&Family::choices()),
    }
}

fn read_resolve(item: Item<'_>) -> Option<IpAddr> {
    let address = item.string("an address in quotes, such as \"192.0.2.17\"")?.parse();
    if address.is_err() {
        item.refuse("is not an address: write it like 192.0.2.17 or 2001:db8::17");
    }
    address.ok()
}

/// Reads a proxy. Faults show neither user nor password.
fn read_proxy(item: Item<'_>) -> Option<Option<Arc<Proxy>>> {
    let wanted = "a URL in quotes, such as \"http://proxy.example.org:3128\", or \"none\"";
    let text = login::join_url(&item.pieces(wanted)?);
    if text == "none" {
        return Some(None);
    }
    let cause = match address::split_login(&text) {
        Err(cause) => cause,
        Ok((url, _)) if !PROXIES.contains(&url.scheme()) => {
            format!("has the scheme \"{}\": allowed are {}", url.scheme(), PROXIES.join(", "))
        }
        Ok((url, _)) if port(&url).is_none() => "has no port: write it like host:3128".to_owned(),
        Ok((url, _)) if !matches!(url.path(), "" | "/") || text.contains(['?', '#']) => {
            "has a path: a proxy is a host and a port".to_owned()
        }
        Ok((url, login)) => return Some(Some(Arc::new(Proxy { url, login }))),
    };
    item.fault(format!("proxy {} {cause}", quoted(&address::redact(item.written()))));
    None
}

/// Returns the port of `url`, or that of its scheme.
fn port(url: &Url) -> Option<u16> {
    url.port_or_known_default()
}

fn read_server_name(item: Item<'_>) -> Option<String> {
    let text = item.text()?;
    if !is_host(&text) || text.parse::<IpAddr>().is_ok() {
        item.refuse("is not the name of a host: write it like www.example.org");
        return None;
    }
    Some(text.to_ascii_lowercase())
}

fn read_basic(item: Item<'_>) -> Option<Auth> {
    let text = item.secret()?;
    let Some((user, password)) = text.split_once(':') else {
        item.fault("basic is not user:password");
        return None;
    };
    if login::splits_user(&item.pieces("user:password")?) {
        item.fault("basic has a user with a colon: there is no way to send one");
        return None;
    }
    let (user, password) = (Secret(user.to_owned()), Secret(password.to_owned()));
    Some(Auth::Basic(Login { user, password }))
}

fn read_bearer(item: Item<'_>) -> Option<Auth> {
    let token = item.secret()?;
    if token.contains(char::is_whitespace) {
        item.fault("bearer holds a space: it is the token alone, without the word Bearer");
        return None;
    }
    Some(Auth::Bearer(Secret(token)))
}
