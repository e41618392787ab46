//! Keeps the cookies of one check, by RFC 6265: a site may set a cookie with a redirect and expect the cookie
//! at the next hop. libcurl's cookies are not used, since each hop has a handle of its own. The cookies are
//! dropped with the check.

mod date;

use url::{Host, Url};

/// Most cookies that are kept; further ones are ignored.
const COOKIES_MAX: usize = 50;

/// Most bytes of the name and the value of one cookie together (RFC 6265, section 6.1); a longer cookie is
/// ignored.
const COOKIE_BYTES_MAX: usize = 4096;

/// Most bytes of all cookies together, with their domains and paths; further cookies are ignored. Servers
/// refuse such requests long before.
const JAR_BYTES_MAX: usize = 16 * 1024;

/// Cookies of one check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jar {
    /// Cookies in the order in which they were first set.
    cookies: Vec<Cookie>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Cookie {
    name: String,
    value: String,
    /// Host that set the cookie, or the domain that the host set it for.
    domain: String,
    /// True if the cookie is sent only to that host, and not to its subdomains.
    is_host_only: bool,
    path: String,
    /// True if the cookie is sent only over TLS.
    is_secure: bool,
    /// Time at which the cookie expires, in seconds since 1970; none if never.
    expires_s: Option<i64>,
}

/// Destination of a request, by which cookies are chosen.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// Name or address of the host, without a port; as in a URL, names are in lower case and in ASCII.
    pub host: &'a str,
    /// URL of the request.
    pub url: &'a Url,
}

impl Jar {
    /// Returns true if the jar holds no cookie.
    pub fn is_empty(&self) -> bool {
        self.cookies.is_empty()
    }

    /// Stores the cookie of one `Set-Cookie` line, in a reply from `here` at `now_s` (seconds since 1970).
    /// Ignores a wrong line or attribute, as RFC 6265 demands.
    pub fn set(&mut self, line: &[u8], here: Destination<'_>, now_s: i64) {
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

    /// Returns the value of `Cookie` for a request to `there` at `now_s` (seconds since 1970): the user's
    /// cookies in `own`, then the site's. A cookie of the site replaces one of the user with the same name.
    /// None without any cookie.
    pub fn header(&self, there: Destination<'_>, own: Option<&str>, now_s: i64) -> Option<String> {
        let fits = |cookie: &&Cookie| cookie.fits(there) && !cookie.is_over(now_s);
        let mut ours: Vec<&Cookie> = self.cookies.iter().filter(fits).collect();
        if ours.is_empty() {
            return own.map(str::to_owned);
        }
        // Longer paths come first (RFC 6265, section 5.4). Paths of the same length keep their order.
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
    /// Returns true if a new cookie replaces the other one.
    fn is_same(&self, other: &Cookie) -> bool {
        self.name == other.name && self.domain == other.domain && self.path == other.path
    }

    fn is_over(&self, now_s: i64) -> bool {
        self.expires_s.is_some_and(|expires_s| expires_s <= now_s)
    }

    fn size(&self) -> usize {
        self.name.len() + self.value.len() + self.domain.len() + self.path.len()
    }

    fn fits(&self, there: Destination<'_>) -> bool {
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

/// Reads one `Set-Cookie` line by RFC 6265, sections 5.2 and 5.3. Returns none if the line must be ignored.
fn read(line: &[u8], here: Destination<'_>, now_s: i64) -> Option<Cookie> {
    // Ignore bytes that are not UTF-8: they could not be sent back unchanged.
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
                // The domain is an address: it must be the host's own, which is checked below.
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
    // A top-level domain such as `com` has no owner: send its cookie only to this host. (`co.uk` has none
    // either, but to know such domains takes a list of 200 kB. A site that sets a cookie for them gives away
    // only its own cookie.)
    if !cookie.domain.contains('.') {
        cookie.is_host_only = true;
    }
    let is_its_own = match cookie.is_host_only {
        true => cookie.domain == here.host,
        false => is_below(here.host, &cookie.domain),
    };
    is_its_own.then_some(cookie)
}

/// Reads the seconds of `Max-Age`. A number that is too large means for ever; a negative one means that the
/// cookie has expired.
fn seconds(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let is_negative = digits.len() < text.len();
    Some(if is_negative { i64::MIN } else { digits.parse().unwrap_or(i64::MAX) })
}

/// Returns the path of a cookie without a `Path`: the path of the URL, up to its last slash.
fn default_path(url: &Url) -> &str {
    match url.path().rfind('/') {
        None | Some(0) => "/",
        Some(at) => &url.path()[..at],
    }
}

/// Returns true if a host is the domain or one of its subdomains. Both are in lower case.
fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests;
