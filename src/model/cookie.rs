//! Cookies within one check, by RFC 6265: a site may set one along with a redirect and expect it
//! at the next hop. Ours and not libcurl's, whose hops share nothing and whose cookies cost more
//! than they are worth here. They end with the check.

mod date;

use url::{Host, Url};

/// Cookies that are kept at most; further ones are not taken.
const COOKIES_MAX: usize = 50;

/// Bytes of one cookie's name and value at most: RFC 6265, 6.1. A longer one is not taken.
const COOKIE_BYTES_MAX: usize = 4096;

/// Bytes of all cookies together at most; those beyond are not taken. Servers refuse such requests
/// long before.
const JAR_BYTES_MAX: usize = 16 * 1024;

/// The cookies of one check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jar {
    /// In the order they were set first.
    cookies: Vec<Cookie>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Cookie {
    name: String,
    value: String,
    /// The host that set it, or the domain that it set it for.
    domain: String,
    /// It goes to that host alone, and to none below it.
    is_host_only: bool,
    path: String,
    /// It goes over TLS alone.
    is_secure: bool,
    /// When it ends, in seconds since 1970; none: with the check.
    expires_s: Option<i64>,
}

/// Where a request goes, as far as cookies are concerned: they know no ports.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The name or the address of the host, as in a URL: in lower case, names in ASCII.
    pub host: &'a str,
    /// The URL that is asked.
    pub url: &'a Url,
}

impl Jar {
    /// Whether no site has set any.
    pub fn is_empty(&self) -> bool {
        self.cookies.is_empty()
    }

    /// Takes what a reply from `here` says in `Set-Cookie`, at `now_s`. What is wrong with it is
    /// passed over, as RFC 6265 has it.
    pub fn set(&mut self, line: &[u8], here: Place<'_>, now_s: i64) {
        let Some(mut cookie) = read(line, here, now_s) else { return };
        let old = self.cookies.iter().position(|old| old.is_same(&cookie));
        if cookie.is_over(now_s) {
            old.map(|at| self.cookies.remove(at));
            return;
        }
        let held: usize = self.cookies.iter().map(Cookie::size).sum();
        if let Some(at) = old {
            let old = &mut self.cookies[at];
            if held - old.size() + cookie.size() <= JAR_BYTES_MAX {
                std::mem::swap(old, &mut cookie);
            }
        } else if self.cookies.len() < COOKIES_MAX && held + cookie.size() <= JAR_BYTES_MAX {
            self.cookies.push(cookie);
        }
    }

    /// The value of `Cookie` for a request to `there`, at `now_s`: `own`, the user's, and ours after
    /// them. A cookie of the user's that the site has set anew is the site's then. None: there is
    /// nothing to send.
    pub fn header(&self, there: Place<'_>, own: Option<&str>, now_s: i64) -> Option<String> {
        let fits = |cookie: &&Cookie| cookie.fits(there) && !cookie.is_over(now_s);
        let mut ours: Vec<&Cookie> = self.cookies.iter().filter(fits).collect();
        if ours.is_empty() {
            return own.map(str::to_owned);
        }
        // Longer paths first: RFC 6265, 5.4. The sort keeps the order of those of one length.
        ours.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let is_set = |pair: &&str| {
            let name = pair.split('=').next().unwrap_or_default().trim();
            ours.iter().any(|cookie| cookie.name == name)
        };
        let own = own.unwrap_or_default().split(';').map(str::trim);
        let own = own.filter(|pair| !pair.is_empty() && !is_set(pair)).map(str::to_owned);
        let ours = ours.iter().map(|cookie| match cookie.name.is_empty() {
            true => cookie.value.clone(),
            false => format!("{}={}", cookie.name, cookie.value),
        });
        Some(own.chain(ours).collect::<Vec<_>>().join("; "))
    }
}

impl Cookie {
    /// Whether one takes the other's place.
    fn is_same(&self, other: &Cookie) -> bool {
        self.name == other.name && self.domain == other.domain && self.path == other.path
    }

    fn is_over(&self, now_s: i64) -> bool {
        self.expires_s.is_some_and(|expires_s| expires_s <= now_s)
    }

    fn size(&self) -> usize {
        self.name.len() + self.value.len() + self.domain.len() + self.path.len()
    }

    fn fits(&self, there: Place<'_>) -> bool {
        let is_host = match self.is_host_only {
            true => there.host == self.domain,
            false => is_below(there.host, &self.domain),
        };
        let path = there.url.path();
        let rest = path.strip_prefix(self.path.as_str());
        let is_path = rest.is_some_and(|rest| {
            rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/')
        });
        is_host && is_path && (!self.is_secure || there.url.scheme() == "https")
    }
}

/// One `Set-Cookie`, by RFC 6265, 5.2 and 5.3. None: it is to be passed over.
fn read(line: &[u8], here: Place<'_>, now_s: i64) -> Option<Cookie> {
    // Bytes that are no UTF-8 could not be given back as they were.
    let line = std::str::from_utf8(line).ok()?;
    if line.contains(|c: char| c.is_control() && c != '\t') {
        return None;
    }
    let mut parts = line.split(';');
    let pair = parts.next()?;
    let (name, value) = pair.split_once('=').unwrap_or(("", pair));
    let (name, value) = (name.trim(), value.trim());
    let size = name.len() + value.len();
    if size == 0 || size > COOKIE_BYTES_MAX {
        return None;
    }
    let mut cookie = Cookie {
        name: name.to_owned(),
        value: value.to_owned(),
        domain: here.host.to_owned(),
        is_host_only: true,
        path: default_path(here.url).to_owned(),
        is_secure: false,
        expires_s: None,
    };
    let mut has_max_age = false;
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (key, value) = (key.trim(), value.trim());
        let is = |name: &str| key.eq_ignore_ascii_case(name);
        if is("max-age") {
            if let Some(age_s) = seconds(value) {
                cookie.expires_s = Some(now_s.saturating_add(age_s));
                has_max_age = true;
            }
        } else if is("expires") {
            if let Some(date_s) = date::read(value).filter(|_| !has_max_age) {
                cookie.expires_s = Some(date_s);
            }
        } else if is("domain") {
            let value = value.strip_prefix('.').unwrap_or(value);
            if value.is_empty() {
                continue;
            }
            let Ok(Host::Domain(domain)) = Host::parse(value) else {
                // An address is a host's own, or wrong.
                (cookie.domain, cookie.is_host_only) = (value.to_owned(), true);
                continue;
            };
            (cookie.domain, cookie.is_host_only) = (domain, false);
        } else if is("path") {
            let path = if value.starts_with('/') { value } else { default_path(here.url) };
            cookie.path = path.to_owned();
        } else if is("secure") {
            cookie.is_secure = true;
        }
    }
    // A whole domain of the top, such as `com`, is nobody's. (Others that are, such as `co.uk`,
    // would need a list of 200 kB; whoever sets a cookie for them gives away but its own.)
    if !cookie.domain.contains('.') {
        cookie.is_host_only = true;
    }
    let is_its_own = match cookie.is_host_only {
        true => cookie.domain == here.host,
        false => is_below(here.host, &cookie.domain),
    };
    is_its_own.then_some(cookie)
}

/// Seconds as `Max-Age` has them; what is too many is for ever, below zero is none.
fn seconds(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let is_negative = digits.len() < text.len();
    Some(if is_negative { i64::MIN } else { digits.parse().unwrap_or(i64::MAX) })
}

/// The path of a cookie that says none: that of the URL, up to its last slash.
fn default_path(url: &Url) -> &str {
    match url.path().rfind('/') {
        None | Some(0) => "/",
        Some(at) => &url.path()[..at],
    }
}

/// Whether a host is a domain or below it. Both are in lower case.
fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests;
