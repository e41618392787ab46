//! Reload: a running daemon reads its configuration again, on SIGHUP or when its files change, and the new
//! plan replaces the old one. A configuration that has faults changes nothing, and the faults are logged.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{checking, keep_own, level, surroundings};
use crate::args::CommonOptions;
use crate::config::{Config, Need, ReloadOn, list_files, read};
use crate::error::Error;
use crate::show::text::show_count;
use crate::stage::messages::SchedulerHandle;

/// Time between two looks at the files. A changed file is read once it has stayed the same for as long: it
/// may still be being written.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Looks between two tries to read files that failed before, unchanged as they are.
const TRY_EVERY: u32 = 10;

/// Configuration in use, and the files that it was read from.
pub struct Reload<'a> {
    common: &'a CommonOptions,
    need: Need,
    node: Arc<str>,
    config: Config,
    control: SchedulerHandle,
    /// Files as they were when they were read last.
    read: Vec<Seen>,
    /// Files as they were at the last look.
    seen: Vec<Seen>,
    /// Reason for which the last reading failed, and the number of looks since; none: it succeeded.
    failed: Option<(String, u32)>,
}

/// Path of a file, and its state: inode number, size, and time of the last write in seconds and nanoseconds.
/// No state: there is no such file.
type Seen = (PathBuf, Option<[i64; 4]>);

impl<'a> Reload<'a> {
    /// Creates the reload of a daemon that watches the targets of `config`, which was read from `since_us`
    /// on, in microseconds since 1970.
    pub fn new(
        common: &'a CommonOptions,
        (need, since_us): (Need, i64),
        node: &Arc<str>,
        config: Config,
        control: SchedulerHandle,
    ) -> Reload<'a> {
        let seen = look(common, &config);
        let mut read = seen.clone();
        // Forget the state of a file that was written after the configuration was read: its content may be
        // another.
        for (_, state) in &mut read {
            *state = state.filter(|[.., s, ns]| *s * 1_000_000 + *ns / 1000 < since_us);
        }
        let node = Arc::clone(node);
        Reload { common, need, node, config, control, read, seen, failed: None }
    }

    /// Returns true if the files are to be looked at.
    pub fn is_watching(&self) -> bool {
        self.config.reload == ReloadOn::Watch
    }

    /// Looks at the files. Reads them again if they differ from those that were read, and have not changed
    /// since the last look.
    pub fn look(&mut self) {
        let now = look(self.common, &self.config);
        let before = std::mem::replace(&mut self.seen, now);
        if self.seen == before && self.seen != self.read {
            return self.reload();
        }
        // The fault may be gone though these files are the same: a file that was missing may be there by now,
        // in a place that nobody looks at.
        if let Some((why, looks)) = &mut self.failed {
            *looks += 1;
            if *looks % TRY_EVERY == 0 {
                let why = why.clone();
                self.read_again(Some(why));
            }
        }
    }

    /// Reads the files again, and puts the new plan into effect.
    pub fn reload(&mut self) {
        self.read_again(None);
    }

    /// Reads the files again; `said` is the text of a failure that need not be logged again.
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
        let plan = checking::plan(&new)?;
        log::set_max_level(level(self.common, new.log.level));
        let changes = changes(&self.config, &new);
        let later = needs_restart(&self.config, &new);
        if !later.is_empty() {
            log::warn!("changed, but takes effect only after a restart: {}", later.join(", "));
        }
        self.control.replace_plan(plan);
        log::info!("reloaded: {changes}");
        // Sections that need a restart stay as they are under way: the next reload is compared with those.
        let Config { targets, targets_file, uplink, reload, .. } = new;
        self.config = Config { targets, targets_file, uplink, reload, ..self.config.clone() };
        // Files that were known keep the state that they had before they were read.
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

/// Returns a text with the number of targets now, and how many are new or gone, by their names.
fn changes(old: &Config, new: &Config) -> String {
    fn names(config: &Config) -> HashSet<&str> {
        config.targets.iter().map(|target| &*target.name).collect()
    }
    let (before, after) = (names(old), names(new));
    let (came, went) = (after.difference(&before).count(), before.difference(&after).count());
    format!("{}, {came} new, {went} gone", show_count(after.len() as u64, "target"))
}

/// Returns the names of the sections that differ and cannot be changed under way.
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

/// Returns the present state of the files that `config` came from, and of the files that are read with it.
fn look(common: &CommonOptions, config: &Config) -> Vec<Seen> {
    let given = surroundings(common).map_or_else(|_| common.configs.clone(), |(_, paths)| paths);
    let own = config.targets.iter().filter_map(|target| target.ca_file.as_ref());
    let mut paths: Vec<PathBuf> = list_files(&given);
    paths.extend(common.env_file.iter().chain(&config.targets_file).cloned());
    paths.extend(own.collect::<HashSet<_>>().into_iter().cloned());
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), state(&path))).collect()
}

fn state(path: &Path) -> Option<[i64; 4]> {
    let found = path.metadata().ok()?;
    Some([found.ino() as i64, found.size() as i64, found.mtime(), found.mtime_nsec()])
}
