//! Reads files into a [`Config`]: the top level, its tables and the targets. Reading goes on after a fault, so
//! that all faults are returned at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::environment::Environment;
use crate::config::kafka::read_kafka;
use crate::config::postgres::read_postgres;
use crate::config::remarks::{RemarkOffsets, add_remarks};
use crate::config::sections::{
    read_log, read_probe, read_retention, read_serve, read_spool, read_sqlite, read_uplink,
    read_write,
};
use crate::config::targets::address::{self, Address};
use crate::config::targets::keys::{self, TargetKeys};
use crate::config::targets::tcp;
use crate::config::toml::context::ReadContext;
use crate::config::toml::fault::{ConfigFaults, quoted};
use crate::config::toml::item::Item;
use crate::config::toml::source::{self, Source, SourceOffset};
use crate::config::toml::table::{Document, Section};
use crate::config::units::show_size;
use crate::config::{Config, DEFAULT_PATH, DEFAULT_STATE_DIR, ProbeConfig, ReloadOn, SqliteConfig};
use crate::model::target::{NAME_MAX, Target};
use crate::words::Word;

/// Faults of missing parts, reported at the start of the first file.
const NO_TARGET: &str = "no target: add a [[target]] with a url, or targets = [\"example.org\"], \
                         or a targets_file";
const NO_KAFKA: &str = "no [kafka]: add it, with brokers = [\"kafka-1.example.org:9092\"]";
const NO_POSTGRES: &str = "no [postgres]: add it, with \
                           url = \"postgresql://sitewatch@db.example.org/sitewatch\"";
const NO_NODE: &str = "no node: add node = \"shop-12\", or whatever tells this machine from all \
                       others; a probe takes no default, since every router is called OpenWrt";
const NO_WORK: &str = "no target, and not both [kafka] and [postgres]: add a [[target]] with a url, \
                       or targets = [\"example.org\"], or a targets_file; or both tables";

/// Parts of a configuration that a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// At least one target: `run`.
    Targets,
    /// A name of the node, at least one target, and `[kafka]`: `probe`.
    Probe,
    /// `[kafka]` and `[postgres]`: `write`.
    Write,
    /// At least one target, or both tables, as any command needs: `config`.
    Any,
    /// Nothing: `status` reports what the store has.
    Nothing,
}

/// Reads the configuration in `paths`, files or folders, in that order.
///
/// # Errors
/// Every fault of every file.
pub fn read(
    paths: &[PathBuf],
    environment: &Environment,
    need: Need,
) -> Result<Config, ConfigFaults> {
    let default = [PathBuf::from(DEFAULT_PATH)];
    let (sources, faults) = source::load(if paths.is_empty() { &default } else { paths });
    let context = ReadContext::new(environment, faults);
    let Some(first) = sources.first() else {
        return Err(ConfigFaults::new(context.into_faults()));
    };
    let documents: Vec<_> =
        sources.iter().filter_map(|source| Document::parse(source, &context)).collect();
    // A file that could not be read may be the one with the targets.
    let all_read = context.count() == 0;

    let mut top = Section::top(&context, first.at(0), &documents);
    let mut has = PresentParts::find(&top);
    let node = top.read("node", |it| it.words(1, NAME_MAX));
    let state_dir = top.read("state_dir", Item::path);
    let reload = top.read("reload", |it| it.choice(&ReloadOn::choices())).unwrap_or_default();
    let state_dir = state_dir.unwrap_or_else(|| default_state_dir(environment));
    let defaults = Defaults::read(top.section("defaults", "in [defaults]"), &context);
    let before = context.count();
    let list = top.read("targets_file", |it| open_list(it, &context));
    let targets = Targets::read(&mut top, list.as_ref(), defaults, &context);
    has.targets = !targets.names.is_empty() || context.count() > before;
    let (probe, in_flight, bodies_at) = read_probe(&mut top);
    let (uplink, canaries) = read_uplink(&mut top);
    let spool = read_spool(&mut top);
    let sqlite = read_sqlite(&mut top, SqliteConfig::in_folder(&state_dir));
    let kafka = read_kafka(&mut top);
    let postgres = read_postgres(&mut top);
    let write = read_write(&mut top);
    let retention = read_retention(&mut top);
    let serve = read_serve(&mut top);
    let log = read_log(&mut top);
    top.finish();

    if let Some(text) = find_body_fault(&probe, &targets.done) {
        context.fault(bodies_at.unwrap_or(first.at(0)), text);
    }
    if all_read {
        has.find_missing(need).into_iter().for_each(|text| context.fault(first.at(0), text));
    }
    if context.count() > 0 {
        return Err(ConfigFaults::new(context.into_faults()));
    }
    let mut config = Config {
        node,
        state_dir,
        targets: targets.done,
        targets_file: list.as_ref().map(|list| list.path.clone()),
        reload,
        probe,
        uplink,
        spool,
        sqlite,
        kafka,
        postgres,
        write,
        retention,
        serve,
        log,
        remarks: Vec::new(),
    };
    add_remarks(&config, &RemarkOffsets { first: first.at(0), canaries, in_flight }, &context);
    config.remarks = context.into_remarks();
    Ok(config)
}

/// Parts that the files have, right or not.
struct PresentParts {
    node: bool,
    targets: bool,
    kafka: bool,
    postgres: bool,
}

impl PresentParts {
    /// Finds the tables and keys at the top. Targets are known only once they are read.
    fn find(top: &Section<'_>) -> PresentParts {
        let (node, kafka, postgres) = (top.has("node"), top.has("kafka"), top.has("postgres"));
        PresentParts { node, targets: false, kafka, postgres }
    }

    /// Returns the texts for the parts that `need` asks for and that are missing.
    fn find_missing(&self, need: Need) -> Vec<&'static str> {
        let all: &[(bool, &'static str)] = match need {
            Need::Targets => &[(self.targets, NO_TARGET)],
            Need::Probe => {
                &[(self.node, NO_NODE), (self.targets, NO_TARGET), (self.kafka, NO_KAFKA)]
            }
            Need::Write => &[(self.kafka, NO_KAFKA), (self.postgres, NO_POSTGRES)],
            Need::Any => &[(self.targets || self.kafka && self.postgres, NO_WORK)],
            Need::Nothing => &[],
        };
        all.iter().filter(|(there, _)| !there).map(|(_, text)| *text).collect()
    }
}

/// Values of `[defaults]`.
struct Defaults<'a> {
    keys: TargetKeys<'a>,
    /// True if a key in `[defaults]` is at fault: the faults that follow from it are not repeated at every
    /// target.
    broken: bool,
}

impl<'a> Defaults<'a> {
    fn read(mut section: Section<'a>, context: &ReadContext<'_>) -> Defaults<'a> {
        let before = context.count();
        let keys = TargetKeys::read(&mut section);
        let broken = context.count() > before;
        section.finish();
        Defaults { keys, broken }
    }
}

/// Targets that were read so far.
struct Targets<'a> {
    context: &'a ReadContext<'a>,
    defaults: Defaults<'a>,
    /// Place at which each name was given first; names of broken targets too.
    names: BTreeMap<String, SourceOffset<'a>>,
    done: Vec<Arc<Target>>,
}

impl<'a> Targets<'a> {
    /// Reads all targets: each `[[target]]`, then `targets`, then the lines of the file `list`.
    fn read(
        top: &mut Section<'a>,
        list: Option<&'a Source>,
        defaults: Defaults<'a>,
        context: &'a ReadContext<'a>,
    ) -> Targets<'a> {
        let mut targets = Targets { context, defaults, names: BTreeMap::new(), done: Vec::new() };
        for section in top.sections("target", "in [[target]]") {
            targets.read_table(section);
        }
        for item in top.take_all("targets") {
            targets.read_list(item);
        }
        if let Some(list) = list {
            targets.read_file(list);
        }
        targets
    }

    /// Reads a `[[target]]`.
    fn read_table(&mut self, mut section: Section<'a>) {
        let before = self.context.count();
        if !section.has("url") {
            self.context.fault(section.at, "url is missing: every [[target]] needs one");
        }
        let has_name = section.has("name");
        let address = section.read_setting("url", |it| keys::read_url(it, "a URL in quotes"));
        let name = section.read_setting("name", |it| it.words(1, NAME_MAX));
        if let Some(address) = &address {
            tcp::refuse_foreign_keys(&section, &address.value.url);
        }
        let keys = TargetKeys::read(&mut section);
        let broken = self.context.count() > before;
        section.finish();
        if let Some(name) = &name {
            self.take_name(&name.value, name.at, "give this one another");
        }
        let Some(address) = address else { return };
        match name {
            Some(name) if !broken => self.add(address.value, &name.value, &keys),
            None if !has_name => {
                let name = address.value.name.clone();
                let named = self.take_name(&name, address.at, "give this one a name of its own");
                if named && !broken {
                    self.add(address.value, &name, &keys);
                }
            }
            _ => {}
        }
    }

    /// Reads a list of URLs: `targets`.
    fn read_list(&mut self, item: Item<'a>) {
        for item in item.list("a list of URLs, such as [\"example.org\"]").unwrap_or_default() {
            if let Some(address) = keys::read_url(item, "a URL in quotes, or a [[target]]") {
                self.add_plain(address, item.at);
            }
        }
    }

    /// Reads a file of URLs, one a line: `targets_file`.
    fn read_file(&mut self, list: &'a Source) {
        let mut offset = 0;
        for line in list.text.split_inclusive('\n') {
            let at = list.at(offset + line.len() - line.trim_start().len());
            offset += line.len();
            let mut words = line.split_whitespace();
            let Some(url) = words.next().filter(|word| !word.starts_with('#')) else { continue };
            if words.next().is_some_and(|word| !word.starts_with('#')) {
                self.context
                    .fault(at, "more than one word: give one URL a line, a comment after #");
                continue;
            }
            match address::parse(url) {
                Ok(address) => self.add_plain(address, at),
                Err(cause) => self.context.fault(at, keys::describe_url_fault(url, &cause)),
            }
        }
    }

    /// Adds a target that is only a URL.
    fn add_plain(&mut self, address: Address, at: SourceOffset<'a>) {
        let name = address.name.clone();
        if self.take_name(&name, at, "write it as [[target]] with a name of its own") {
            self.add(address, &name, &TargetKeys::default());
        }
    }

    /// Takes the name of a target, and returns true, if `name` is short enough and free. If not, takes note of
    /// a fault that ends with `advice`.
    fn take_name(&mut self, name: &str, at: SourceOffset<'a>, advice: &str) -> bool {
        let count = name.chars().count();
        if count > NAME_MAX {
            let text = format!("a name has at most {NAME_MAX} characters, and this URL {count}");
            self.context.fault(at, format!("{text}: {advice}"));
            return false;
        }
        if let Some(first) = self.names.get(name) {
            let (name, first) = (quoted(name), first.location());
            self.context
                .fault(at, format!("name {name} is taken by the target at {first}: {advice}"));
            return false;
        }
        self.names.insert(name.to_string(), at);
        true
    }

    /// Adds a target. Each of its keys is right by itself.
    fn add(&mut self, address: Address, name: &str, keys: &TargetKeys<'a>) {
        if !self.defaults.broken {
            let has_login = address.login.is_some();
            let target = keys.make_target(&self.defaults.keys, address, name);
            keys.check_combinations(&self.defaults.keys, &target, has_login, self.context);
            keys.add_remarks(&self.defaults.keys, &target, self.context);
            self.done.push(Arc::new(target));
        }
    }
}

/// Opens the file that `targets_file` names. Its faults come after those of all other files.
fn open_list(item: Item<'_>, context: &ReadContext<'_>) -> Option<Source> {
    let path = item.path()?;
    let hint = format!("it is named at {}", item.at.location());
    match Source::load(usize::MAX, &path, &hint) {
        Ok(list) => Some(list),
        Err(fault) => {
            context.add(fault);
            None
        }
    }
}

fn default_state_dir(environment: &Environment) -> PathBuf {
    let given = environment.value("STATE_DIRECTORY").filter(|path| !path.is_empty());
    PathBuf::from(given.unwrap_or(DEFAULT_STATE_DIR))
}

/// Returns a fault if one `max_body` is larger than `bodies_max`: such a body could never be held, and so not
/// be judged.
fn find_body_fault(probe: &ProbeConfig, targets: &[Arc<Target>]) -> Option<String> {
    let kept = targets.iter().filter(|target| target.wants_body());
    let largest = kept.max_by_key(|target| target.max_body)?;
    (largest.max_body > probe.bodies_max).then(|| {
        let (all, one) = (show_size(probe.bodies_max as u64), show_size(largest.max_body as u64));
        let name = quoted(&largest.name);
        format!(
            "bodies_max {all} is less than the max_body {one} of {name}: raise it, or lower that"
        )
    })
}
