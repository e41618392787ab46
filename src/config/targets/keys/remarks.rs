//! Remarks on the keys of a target: each is right, and together they may not be what was meant.

use std::ops::RangeInclusive;

use crate::config::targets::keys::{Clash, TargetKeys};
use crate::config::toml::context::ReadContext;
use crate::config::toml::fault::quoted;
use crate::config::units::show_duration;
use crate::model::expression::Expression;
use crate::model::target::{Method, Target};

/// Statuses of replies that lead elsewhere, by their header Location.
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];
/// Statuses of replies that have no body.
const BODILESS: [u16; 3] = [204, 205, 304];

impl<'a> TargetKeys<'a> {
    /// Takes note of the remarks on `target`, which was made of these keys and the `defaults`.
    pub(in crate::config) fn add_remarks(
        &self,
        defaults: &TargetKeys<'a>,
        target: &Target,
        context: &ReadContext<'a>,
    ) {
        self.remark_on_redirects(defaults, target, context);
        self.remark_on_bodies(defaults, target, context);
        self.remark_on_certificates(target, context);
        if let Some(limit) = target.slow_after.filter(|limit| *limit >= target.timeout) {
            let place = Clash::of(&self.slow_after, &self.timeout, &defaults.slow_after);
            let (limit, timeout) = (show_duration(limit), show_duration(target.timeout));
            let text = format!("slow_after {limit} is never passed: timeout {timeout} comes first");
            place.remark(context, "slow_after", &text, "lower slow_after, or raise timeout");
        }
    }

    /// Remarks on redirects in `status`: a redirect that is followed is not the reply that `status` is asked
    /// of.
    fn remark_on_redirects(
        &self,
        defaults: &TargetKeys<'a>,
        target: &Target,
        context: &ReadContext<'a>,
    ) {
        let is_redirect = |range: &&RangeInclusive<u16>| {
            300 <= *range.start()
                && *range.end() <= 399
                && REDIRECTS.iter().any(|code| range.contains(code))
        };
        let Some(range) = target.status.ranges().iter().find(is_redirect) else { return };
        if target.max_redirects == 0 {
            return;
        }
        let (low, high) = range.clone().into_inner();
        let codes = if low == high { low.to_string() } else { format!("{low}-{high}") };
        let most = target.max_redirects;
        let text = format!(
            "status {codes} is of redirects, and they are followed (max_redirects {most}): \
             what they lead to is judged"
        );
        let place = Clash::of(&self.status, &self.max_redirects, &defaults.status);
        place.remark(
            context,
            "status",
            &text,
            "set max_redirects = 0 to judge the redirect itself",
        );
    }

    /// Remarks on expressions that always or never find something.
    fn remark_on_bodies(
        &self,
        defaults: &TargetKeys<'a>,
        target: &Target,
        context: &ReadContext<'a>,
    ) {
        if target.is_tcp() {
            return;
        }
        let matches = Clash::of(&self.matches, &self.method, &defaults.matches);
        let rejects = Clash::of(&self.rejects, &self.method, &defaults.rejects);
        if target.method == Method::Head {
            let text = "reject never finds anything: the answer to HEAD has no body";
            if !target.rejects.is_empty() {
                rejects.remark(context, "reject", text, "drop it, or set another method");
            }
            return;
        }
        let mut codes = target.status.ranges().iter().cloned().flatten();
        let wants_body = !target.matches.is_empty();
        if wants_body && codes.all(|code| BODILESS.contains(&code)) {
            let text = format!("match needs a body, and a reply of status {}", target.status);
            let place = Clash::of(&self.matches, &self.status, &defaults.matches);
            place.remark(context, "match", &format!("{text} has none"), "set match = []");
        }
        let finds_all = |expression: &&Expression| {
            ["", "\u{1}", "\u{1}\n\u{1}"].iter().all(|text| expression.find(text).is_some())
        };
        if let Some(found) = target.matches.iter().find(finds_all) {
            let text = format!("match {} is found in every body", quoted(found.as_str()));
            matches.remark(context, "match", &text, "drop it, or say more");
        }
        if let Some(found) = target.rejects.iter().find(finds_all) {
            let text = format!("reject {} is found in every body", quoted(found.as_str()));
            rejects.remark(context, "reject", &text, "drop it, or say more");
        }
    }

    /// Remarks on keys about certificates where there is none. In `[defaults]` such keys are for the targets
    /// that have one.
    fn remark_on_certificates(&self, target: &Target, context: &ReadContext<'a>) {
        let without = match target.url.scheme() {
            "http" if target.max_redirects == 0 => "http:// has no certificate",
            "tcp" if !target.connect.tls => "tcp:// without tls = true has no certificate",
            _ => "",
        };
        if let (Some(set), false) = (&self.min_cert_days, without.is_empty())
            && set.value > 0
        {
            context.remark(set.at, format!("min_cert_days does nothing here: {without}"));
        }
        if let Some(set) = &self.ca_file {
            if !without.is_empty() {
                context.remark(set.at, format!("ca_file does nothing here: {without}"));
            } else if !target.verify {
                context.remark(set.at, "ca_file does nothing here: verify = false trusts anybody");
            }
        }
    }
}
