//! Follows redirects: changes the request as HTTP demands, and decides which cookies and headers it carries.

use curl::easy::List;
use url::Url;

use super::ActiveCheck;
use crate::check::header::ReplyHeader;
use crate::check::route::is_at_home;
use crate::clock;
use crate::model::cookie::Destination;
use crate::model::judge::CheckFault;
use crate::model::outcome::Cause;
use crate::model::target::Method;

impl ActiveCheck {
    /// Follows the redirect in the header of this hop's reply. Returns false if the reply is no redirect, or
    /// if the target follows none (`max_redirects = 0`).
    ///
    /// # Errors
    /// The redirect cannot be followed, or is one too many.
    pub(super) fn follow_redirect(&mut self, header: &ReplyHeader) -> Result<bool, CheckFault> {
        let most = self.target.max_redirects;
        if most == 0 {
            return Ok(false);
        }
        let Some(next) = header.redirect_url(&self.url) else { return Ok(false) };
        let next = next.map_err(|text| CheckFault { cause: Cause::Protocol, text })?;
        if self.redirects >= most {
            let text = format!("more than {most} redirects");
            return Err(CheckFault { cause: Cause::TooManyRedirects, text });
        }
        self.take_cookies(&header.cookies);
        self.follow(next, header.status)?;
        Ok(true)
    }

    /// Makes `next`, the URL of a redirect, the URL of the next hop.
    ///
    /// # Errors
    /// The redirect would send our body, which may hold secrets, to another origin.
    fn follow(&mut self, next: Url, status: Option<u16>) -> Result<(), CheckFault> {
        // RFC 9110, 15.4: 303 turns every request but HEAD into a GET. 301 and 302 turn only a POST into a
        // GET, as all clients do.
        let changes = match status {
            Some(303) => self.method != Method::Head,
            Some(301 | 302) => self.method == Method::Post,
            _ => false,
        };
        if changes {
            self.method = Method::Get;
            self.sends_body = false;
        }
        if self.sends_body && next.origin() != self.target.url.origin() {
            let text = "redirect to another origin: the body of the request is not sent there";
            return Err(CheckFault { cause: Cause::Protocol, text: text.to_owned() });
        }
        self.url = next;
        self.redirects += 1;
        self.needs_http_1 = false;
        self.begin_hop();
        Ok(())
    }

    /// Stores the cookies of this hop's reply; each line is the value of a `Set-Cookie`.
    fn take_cookies(&mut self, lines: &[Vec<u8>]) {
        let now_s = clock::now_ms().div_euclid(1000);
        let host = self.cookie_host();
        let here = Destination { host: &host, url: &self.url };
        for line in lines {
            self.cookies.set(line, here, now_s);
        }
    }

    /// Appends the headers that the user has configured, and the cookies of this check. An origin other than
    /// the target's gets only the headers that cannot hold a secret.
    pub(super) fn append_user_headers(
        &self,
        is_at_home: bool,
        list: &mut List,
    ) -> Result<(), curl::Error> {
        let cookies = self.cookies();
        if let Some(cookies) = &cookies {
            list.append(&format!("Cookie: {cookies}"))?;
        }
        let is_said = |name: &str| cookies.is_some() && name.eq_ignore_ascii_case("cookie");
        let own = self.target.headers.iter().filter(|header| !is_said(&header.name));
        for header in own.filter(|header| is_at_home || header.is_harmless()) {
            let (name, value) = (&header.name, &header.value.0);
            match value.is_empty() {
                true => list.append(&format!("{name};"))?,
                false => list.append(&format!("{name}: {value}"))?,
            }
        }
        Ok(())
    }

    /// Returns the value of `Cookie` for this hop: the user's own cookies, then those of the site. None if no
    /// site has set a cookie.
    fn cookies(&self) -> Option<String> {
        if self.cookies.is_empty() {
            return None;
        }
        let is_own = is_at_home(&self.target, &self.url);
        let own = self.target.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("cookie"));
        let own: Vec<&str> = own.filter(|_| is_own).map(|h| h.value.0.as_str()).collect();
        let own = own.join("; ");
        let now_s = clock::now_ms().div_euclid(1000);
        let there = Destination { host: &self.cookie_host(), url: &self.url };
        self.cookies.header(there, Some(&*own).filter(|own| !own.is_empty()), now_s)
    }

    /// Returns the host that cookies belong to: the one of the user's `Host` header, else the host of the
    /// URL.
    fn cookie_host(&self) -> String {
        let is_own = is_at_home(&self.target, &self.url);
        let own = self.target.headers.iter().find(|h| h.name.eq_ignore_ascii_case("host"));
        let own = own.filter(|_| is_own).map(|h| format!("http://{}/", h.value.0));
        let own = own.and_then(|own| Url::parse(&own).ok());
        own.as_ref().unwrap_or(&self.url).host_str().unwrap_or_default().to_owned()
    }
}
