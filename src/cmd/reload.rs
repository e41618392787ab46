//! Another configuration for a daemon under way, on SIGHUP or when its files change: what it plans
//! takes the place of what was planned. One that has faults changes nothing, and they are logged.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{head, keep_own, level, surroundings};
use crate::args::Common;
use crate::check::watch::Control;
use crate::config::{Config, Need, ReloadOn, files, read};
use crate::error::Error;
use crate::show::text::count;

/// How often the files are looked at. What has changed is read once it has stayed the same for as
/// long: it may still be being written.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Every how many looks files that were not taken are tried again, unchanged as they are.
const TRY_EVERY: u32 = 10;

/// What is under way, and where it came from.
pub struct Reload<'a> {
    common: &'a Common,
    need: Need,
    node: Arc<str>,
    config: Config,
    control: Control,
    /// The files as they were read, and as they were seen last.
    read: Vec<Seen>,
    seen: Vec<Seen>,
    /// Why they were not taken, and how many looks ago.
    failed: Option<(String, u32)>,
}

/// A file, and what tells it from another of its name: number, size, and when it was last written;
/// none: there is none.
type Seen = (PathBuf, Option<[i64; 4]>);

impl<'a> Reload<'a> {
    /// For a daemon that watches what `config` plans, which was read from `since_us` on,
    /// microseconds since 1970.
    pub fn new(
        common: &'a Common,
        (need, since_us): (Need, i64),
        node: &Arc<str>,
        config: Config,
        control: Control,
    ) -> Reload<'a> {
        let seen = look(common, &config);
        let mut read = seen.clone();
        // What was written since may not be what was read.
        for (_, state) in &mut read {
            *state = state.filter(|[.., s, ns]| *s * 1_000_000 + *ns / 1000 < since_us);
        }
        let node = Arc::clone(node);
        Reload { common, need, node, config, control, read, seen, failed: None }
    }

    /// Whether the files are to be looked at.
    pub fn is_watching(&self) -> bool {
        self.config.reload == ReloadOn::Watch
    }

    /// Reads the files again if they are others, and have been since the last look.
    pub fn look(&mut self) {
        let now = look(self.common, &self.config);
        let before = std::mem::replace(&mut self.seen, now);
        if self.seen == before && self.seen != self.read {
            return self.reload();
        }
        // What was missing may be there by now, where nobody has looked.
        if let Some((why, looks)) = &mut self.failed {
            *looks += 1;
            if *looks % TRY_EVERY == 0 {
                let why = why.clone();
                self.read_again(Some(why));
            }
        }
    }

    /// Reads the files again.
    pub fn reload(&mut self) {
        self.read_again(None);
    }

    /// The same; `said`: a failure that need not be told again.
    fn read_again(&mut self, said: Option<String>) {
        self.read = look(self.common, &self.config);
        self.seen.clone_from(&self.read);
        let why = self.try_reload().err().map(|error| error.to_string());
        if let Some(why) = why.as_ref().filter(|why| said.as_ref() != Some(*why)) {
            why.lines().for_each(|line| log::error!("{line}"));
            log::error!("not reloaded: all goes on as it was configured before");
        }
        self.failed = why.map(|why| (why, 0));
    }

    fn try_reload(&mut self) -> Result<(), Error> {
        let (environment, paths) = surroundings(self.common)?;
        let new = read(&paths, &environment, self.need);
        let mut new = new.map_err(|faults| Error::new(faults.to_string()))?;
        keep_own(&mut new, &self.node)?;
        let plan = head::plan(&new)?;
        log::set_max_level(level(self.common, new.log.level));
        let changes = changes(&self.config, &new);
        let later = needs_restart(&self.config, &new);
        if !later.is_empty() {
            log::warn!("changed, and needs a restart to count: {}", later.join(", "));
        }
        self.control.plan(plan);
        log::info!("reloaded: {changes}");
        // What needs a restart is compared with what is under way.
        let Config { targets, targets_file, uplink, reload, .. } = new;
        self.config = Config { targets, targets_file, uplink, reload, ..self.config.clone() };
        // Those that were known are as they were before they were read.
        let known: HashMap<&Path, _> =
            self.read.iter().map(|(path, state)| (&**path, *state)).collect();
        let mut read = look(self.common, &self.config);
        for (path, state) in &mut read {
            *state = known.get(&**path).copied().unwrap_or(*state);
        }
        self.seen.clone_from(&read);
        self.read = read;
        Ok(())
    }
}

/// How many targets there are now, and how many of them came and went, by their names.
fn changes(old: &Config, new: &Config) -> String {
    fn names(config: &Config) -> HashSet<&str> {
        config.targets.iter().map(|target| &*target.name).collect()
    }
    let (before, after) = (names(old), names(new));
    let (came, went) = (after.difference(&before).count(), before.difference(&after).count());
    format!("{}, {came} new, {went} gone", count(after.len() as u64, "target"))
}

/// What differs and cannot be changed under way.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let log = |config: &Config| (config.log.format, config.log.max_per_minute);
    let all = [
        ("node", old.node == new.node),
        ("[probe]", old.probe == new.probe),
        ("[spool]", old.spool == new.spool),
        ("[sqlite] or state_dir", old.sqlite == new.sqlite),
        ("[kafka]", old.kafka == new.kafka),
        ("[write]", old.write == new.write),
        ("[serve]", old.serve == new.serve),
        ("[log] but its level", log(old) == log(new)),
    ];
    all.iter().filter(|(_, is_same)| !is_same).map(|(name, _)| *name).collect()
}

/// The files that `config` came from, and those that are read with it, as they are now.
fn look(common: &Common, config: &Config) -> Vec<Seen> {
    let given = surroundings(common).map_or_else(|_| common.configs.clone(), |(_, paths)| paths);
    let own = config.targets.iter().filter_map(|target| target.ca_file.as_ref());
    let mut paths: Vec<PathBuf> = files(&given);
    paths.extend(common.env_file.iter().chain(&config.targets_file).cloned());
    paths.extend(own.collect::<HashSet<_>>().into_iter().cloned());
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), state(&path))).collect()
}

fn state(path: &Path) -> Option<[i64; 4]> {
    let found = path.metadata().ok()?;
    Some([found.ino() as i64, found.size() as i64, found.mtime(), found.mtime_nsec()])
}
