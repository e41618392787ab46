//! `sitewatch check`: checks targets at once and shows the outcomes. Engine, judge and doubts about our own
//! network are those of `run`; there is no schedule and no store.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::LevelFilter;

use super::checking::canaries;
use super::{BAD_NEWS, FINE, NO_ANSWER, host_name, keep_own, load, paint, print, start_log, width};
use crate::args::{self, CommonOptions};
use crate::check::BodyBudget;
use crate::check::canary::CanaryClient;
use crate::check::engine::{Engine, FinishedCheck};
use crate::check::trust::Trust;
use crate::clock;
use crate::config::units::parse_duration;
use crate::config::{Need, make_header, parse_target};
use crate::error::{Context, Error};
use crate::log::LogFormat;
use crate::model::attempts::Attempt;
use crate::model::expression::Expression;
use crate::model::judge::judge;
use crate::model::outcome::{Outcome, Verdict};
use crate::model::secret::Secret;
use crate::model::target::{Method, StatusSet, Target};
use crate::model::uplink::{Canaries, Uplink, UplinkAction};
use crate::model::wire::encode_check;
use crate::show::waterfall::draw_waterfall;
use crate::stage::judge::perform;
use crate::stage::messages::draw_run;
use crate::threads;

/// Most checks in flight at once: the default of `max_in_flight`.
const IN_FLIGHT: usize = 100;
/// Memory for their bodies in bytes: 256 KiB, the default of `max_body`, for each check in flight.
const ROOM: usize = 256 * 1024 * IN_FLIGHT;
/// Longest wait of one turn of the engine.
const TURN: Duration = Duration::from_secs(1);

/// Checks the targets of the command line, as often as `--count` says, and prints each outcome. Returns the
/// exit code of the worst verdict.
///
/// # Errors
/// A word that is neither a URL nor a target, or a key that such a target does not take.
pub fn check(common: &CommonOptions, options: &args::CheckOptions) -> Result<u8, Error> {
    let Asked { targets, others, node, canaries } = asked(common, options)?;
    let trust = Trust::read(targets.iter().map(|target| &**target))?;
    let mut checks = Checks {
        engine: Engine::new(trust),
        budget: BodyBudget::new(ROOM.max(targets.iter().map(|t| t.max_body).max().unwrap_or(0))),
        node: node.into(),
        run: draw_run(),
        known: others.into_iter().chain(targets.iter().cloned()).collect(),
        canaries,
    };
    let mut worst = FINE;
    let mut begins = Instant::now();
    for round in 0..options.count {
        if round > 0 {
            begins += options.every;
            std::thread::sleep(begins.saturating_duration_since(Instant::now()));
        }
        let shown = targets.len() as u64 * u64::from(options.count) > 1;
        checks.round(&targets, &mut |target, outcome| {
            worst = worse(worst, outcome.verdict);
            if options.json {
                return print(&(encode_check(outcome) + "\n"));
            }
            let text =
                draw_waterfall(target, outcome, clock::now_ms(), width().unwrap_or(80), paint());
            print(&if shown { text + "\n" } else { text })
        })?;
    }
    Ok(worst)
}

/// Targets to check, and what checking them needs.
struct Asked {
    targets: Vec<Arc<Target>>,
    /// Targets of the configuration, which may stand in for canaries; empty with `--all` or without a
    /// configuration.
    others: Vec<Arc<Target>>,
    /// Name of this node.
    node: String,
    /// Hosts that tell our own network's trouble from a target's, when nobody answers.
    canaries: Canaries,
}

fn asked(common: &CommonOptions, options: &args::CheckOptions) -> Result<Asked, Error> {
    let is_url = |what: &String| what.contains("://");
    let none = Canaries { stands_in: true, ..Canaries::default() };
    let others = Vec::new();
    if !options.all && common.configs.is_empty() && options.what.iter().all(is_url) {
        start_log(common, LevelFilter::Warn, LogFormat::Text, u32::MAX);
        let targets = options.what.iter().map(|url| lone(url, &options.keys));
        let (targets, node) = (targets.collect::<Result<_, _>>()?, host_name());
        return Ok(Asked { targets, others, node, canaries: none });
    }
    let mut config = match load(common, Need::Nothing) {
        // A bare domain needs no configuration either.
        Err(error) if options.all || !common.configs.is_empty() => return Err(error),
        Err(error) => {
            start_log(common, LevelFilter::Warn, LogFormat::Text, u32::MAX);
            Err(error)
        }
        read => read,
    };
    let node =
        config.as_ref().ok().and_then(|config| config.node.clone()).unwrap_or_else(host_name);
    let canaries = config.as_ref().map_or(none, canaries);
    if let (true, Ok(config)) = (options.all, &mut config) {
        if config.targets.is_empty() {
            return Err(Error::new("no target in the configuration"));
        }
        keep_own(config, &node)?;
        let targets = std::mem::take(&mut config.targets);
        return Ok(Asked { targets, others, node, canaries });
    }
    let known = config.as_ref().map_or(&[][..], |config| &config.targets);
    let mut targets = Vec::new();
    for what in &options.what {
        let named = known.iter().find(|target| *target.name == **what);
        targets.push(match named {
            Some(target) if options.keys.is_empty() => Arc::clone(target),
            Some(target) => Arc::new(with_keys(Target::clone(target), &options.keys)?),
            None if is_url(what) || what.contains(['.', ':']) => lone(what, &options.keys)?,
            None => {
                let text = format!("{what:?} is no target of the configuration, and no URL");
                return Err(Error::new(match &config {
                    Ok(_) => text,
                    Err(error) => format!("{text}: {error}"),
                }));
            }
        });
    }
    let others = known.to_vec();
    Ok(Asked { targets, others, node, canaries })
}

/// Builds a target from a URL that no configuration names, with the keys that were given as flags.
fn lone(url: &str, keys: &[(&str, String)]) -> Result<Arc<Target>, Error> {
    with_keys(parse_target(url)?, keys).map(Arc::new)
}

/// Sets the keys that were given as flags on a target.
fn with_keys(mut target: Target, keys: &[(&str, String)]) -> Result<Target, Error> {
    for (key, value) in keys {
        let fault = |allowed: &str| Error::new(format!("--{key} {value:?}: {allowed}"));
        let expression =
            || Expression::new(value).map_err(|error| fault(&error.replace('\n', " ")));
        let time = || match parse_duration(value) {
            Ok(time) if !time.is_zero() => Ok(time),
            Ok(_) => Err(fault("more than nothing")),
            Err(error) => Err(fault(&error.to_string())),
        };
        match *key {
            "method" => {
                let words =
                    Method::ALL.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ");
                target.method = Method::parse(value).ok_or_else(|| fault(&words))?;
            }
            "header" => {
                // The value may be a secret: no error shows it.
                let (name, value) = value
                    .split_once(':')
                    .ok_or_else(|| Error::new("--header: write it 'Name: value'"))?;
                let new = make_header(name.trim(), value.trim()).cannot("take --header")?;
                target.headers.retain(|old| !old.name.eq_ignore_ascii_case(&new.name));
                target.headers.push(new);
            }
            "body" => target.body = Secret(value.clone()),
            "status" => {
                let ranges: Option<Vec<_>> = value.split(',').map(StatusSet::parse_range).collect();
                let allowed = "codes and ranges from 100 to 999, such as 200-299,301";
                target.status = StatusSet::new(ranges.ok_or_else(|| fault(allowed))?);
            }
            "match" => target.matches.push(expression()?),
            "reject" => target.rejects.push(expression()?),
            "timeout" => target.timeout = time()?,
            "slow-after" => target.slow_after = Some(time()?),
            "max-redirects" => {
                let number = value.parse().ok().filter(|n| *n <= 100);
                target.max_redirects = number.ok_or_else(|| fault("a number from 0 to 100"))?;
            }
            "ca-file" => target.ca_file = Some(PathBuf::from(value)),
            _ => target.verify = false,
        }
        let of_connections = ["match", "timeout", "slow-after", "ca-file", "insecure"];
        if target.is_tcp() && !of_connections.contains(key) {
            return Err(Error::new(format!(
                "--{key}: a connection has none; --match is what it says first"
            )));
        }
    }
    Ok(target)
}

/// Checks under way, and what they need.
struct Checks {
    engine: Engine<(usize, Attempt)>,
    budget: BodyBudget,
    node: Arc<str>,
    run: u32,
    /// All targets that are known, and the canaries: they tell our own network's trouble from a target's.
    known: Vec<Arc<Target>>,
    canaries: Canaries,
}

impl Checks {
    /// Checks every target once, and hands the outcomes to `give` in the order of the targets.
    fn round(
        &mut self,
        targets: &[Arc<Target>],
        give: &mut dyn FnMut(&Target, &Outcome) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut round = Round::new(targets);
        round.uplink.replace_targets(&self.known, &self.canaries);
        let mut given = 0;
        while given < targets.len() {
            self.start_waiting(&mut round);
            let actions = if self.engine.in_flight() > 0 {
                let ended = self.engine.turn(TURN)?;
                ended.into_iter().flat_map(|done| round.take(done)).collect()
            } else {
                round.ask_canaries()?
            };
            round.perform(actions);
            while let Some(Some(outcome)) = round.outcomes.get(given) {
                give(&targets[given], outcome)?;
                given += 1;
            }
        }
        Ok(())
    }

    /// Starts the checks that wait and find room.
    fn start_waiting(&mut self, round: &mut Round<'_>) {
        while self.engine.in_flight() < IN_FLIGHT
            && let Some((index, _)) = round.waiting.front()
            && let Some(permit) = self.budget.take(round.targets[*index].max_body)
            && let Some((index, attempt)) = round.waiting.pop_front()
        {
            let attempt = attempt.unwrap_or_else(|| Attempt {
                node: Arc::clone(&self.node),
                run: self.run,
                due_ms: clock::now_ms(),
                lag_us: 0,
                number: 1,
                jumps: 0,
            });
            self.engine.start(Arc::clone(&round.targets[index]), permit, (index, attempt));
        }
    }
}

/// One check of every target.
struct Round<'a> {
    targets: &'a [Arc<Target>],
    /// Indexes of the targets whose check is to start, with the next attempt if there was one before.
    waiting: VecDeque<(usize, Option<Attempt>)>,
    /// Outcome of each target's check; none: it is not settled yet.
    outcomes: Vec<Option<Outcome>>,
    uplink: Uplink,
    canaries: CanaryClient,
    /// Indexes of the targets whose check the uplink has, in the order in which it took them.
    unsettled: VecDeque<usize>,
}

impl Round<'_> {
    fn new(targets: &[Arc<Target>]) -> Round<'_> {
        Round {
            targets,
            waiting: (0..targets.len()).map(|index| (index, None)).collect(),
            outcomes: vec![None; targets.len()],
            uplink: Uplink::default(),
            canaries: CanaryClient::default(),
            unsettled: VecDeque::new(),
        }
    }

    /// Judges a reply; a check that failed is tried again, as far as its target allows.
    fn take(&mut self, done: FinishedCheck<(usize, Attempt)>) -> Vec<UplinkAction> {
        let now = Instant::now();
        let (index, attempt) = done.tag;
        let silence = done.reply.silence;
        let mut actions = self.uplink.note_reply(&done.target, &done.reply, now);
        let outcome = judge(&done.target, &attempt, done.reply);
        if let Some(next) = attempt.next(&done.target, outcome.verdict) {
            self.waiting.push_front((index, Some(next)));
            return actions;
        }
        self.unsettled.push_back(index);
        actions.extend(self.uplink.settle_or_hold(&done.target, silence, outcome, now));
        actions
    }

    /// Waits for the canaries, since all checks that are left are in doubt: one round settles them.
    fn ask_canaries(&mut self) -> Result<Vec<UplinkAction>, Error> {
        // async-io needs a thread for the wait.
        threads::ensure_spare(1).cannot("start a thread")?;
        self.uplink.begin_last_round();
        let until = self.uplink.next_at(Instant::now());
        let answer = smol::block_on(self.canaries.next_answer(until));
        Ok(self.uplink.advance(answer, Instant::now()))
    }

    /// Carries out what the uplink decided.
    fn perform(&mut self, actions: Vec<UplinkAction>) {
        for action in actions {
            let Some(settled) = perform(action, &mut self.uplink, &self.canaries) else { continue };
            let outcome = settled.outcome;
            let is_it = |index: &usize| self.targets[*index].name == outcome.target;
            if let Some(at) = self.unsettled.iter().position(is_it)
                && let Some(index) = self.unsettled.remove(at)
            {
                self.outcomes[index] = Some(outcome);
            }
        }
    }
}

/// Returns the worse of two answers as an exit code: down before unknown before fine.
fn worse(before: u8, verdict: Verdict) -> u8 {
    match (before, verdict) {
        (BAD_NEWS, _) | (_, Verdict::Down) => BAD_NEWS,
        (NO_ANSWER, _) | (_, Verdict::Unknown) => NO_ANSWER,
        _ => FINE,
    }
}
