//! `sitewatch service`: prints a service file, so that the one binary is enough to set a host up. The texts
//! of the files stand beside this one, complete but for the parts that differ from mode to mode and the paths
//! that the command line names.

use std::path::{Path, absolute};

use super::{FINE, print};
use crate::args::{CommonOptions, DaemonName, ServiceManager, ServiceOptions};
use crate::config::Environment;
use crate::error::{Context, Error};

const SYSTEMD: &str = include_str!("service/sitewatch.service");
const OPENWRT: &str = include_str!("service/sitewatch.init");

/// Folders that the unit does not see as the host does: `ProtectHome` and `PrivateTmp` hide or replace them.
const UNSEEN: [&str; 5] = ["/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/"];

/// Parts of a service file that differ from mode to mode.
struct Kind {
    mode: &'static str,
    description: &'static str,
    /// Memory in MiB above which the kernel slows the program down and takes memory back.
    memory_high: u32,
    /// Memory in MiB above which the program is ended.
    memory_max: u32,
    /// Text on the data that the program keeps in a router's memory.
    state: &'static str,
    /// Line of the unit for a reload of the configuration; empty: the mode cannot reload.
    reload: &'static str,
}

/// Line of the unit for new targets without a restart, by `systemctl reload sitewatch`.
const RELOAD: &str = "ExecReload=/bin/kill -HUP $MAINPID\n";

impl Kind {
    /// Returns the parts of a mode. Measured memory: `run` takes 15 MB for 1000 targets, a probe as much and
    /// the records that wait for Kafka; a writer with full batches 56 MB.
    fn of(mode: DaemonName) -> Kind {
        match mode {
            DaemonName::Run => Kind {
                mode: "run",
                description: "sitewatch: watches websites",
                memory_high: 96,
                memory_max: 128,
                state: "the SQLite file\n# takes the router's memory and is lost with it. Better \
                        USB storage with a file system that\n# knows owners (ext4): \
                        /mnt/usb/sitewatch-data. Else set [sqlite] max_size to a few\n# MiB. The \
                        router's own flash would wear out.",
                reload: RELOAD,
            },
            DaemonName::Probe => Kind {
                mode: "probe",
                description: "sitewatch: watches websites for a writer elsewhere",
                memory_high: 64,
                memory_max: 96,
                state: "a probe\n# keeps nothing there yet.",
                reload: RELOAD,
            },
            DaemonName::Write => Kind {
                mode: "write",
                description: "sitewatch: stores in PostgreSQL what probes publish",
                memory_high: 256,
                memory_max: 384,
                state: "a writer\n# keeps nothing there.",
                reload: "",
            },
        }
    }

    fn fill(&self, text: &str) -> String {
        text.replace("@mode@", self.mode)
            .replace("@description@", self.description)
            .replace("@memory_high@", &self.memory_high.to_string())
            .replace("@memory_max@", &self.memory_max.to_string())
            .replace("@data@", &(u64::from(self.memory_max) << 20).to_string())
            .replace("@state@", self.state)
            .replace("@reload@", self.reload)
    }
}

/// Prints the service file. The program in it gets the same configuration and file of variables as this
/// command.
///
/// # Errors
/// More than one configuration, one that the unit could not read, or a path that would have to be
/// quoted; stdout cannot be written.
pub fn service(common: &CommonOptions, service: ServiceOptions) -> Result<u8, Error> {
    let configs = Environment::of_process().paths(common.configs.clone());
    let [config] = &configs[..] else {
        return Err(Error::new("service: one --config: a file, or a folder of several"));
    };
    let variables = common.env_file.as_deref().map(plain).transpose()?;
    let config = plain(config)?;
    if service.manager == ServiceManager::Systemd && UNSEEN.iter().any(|of| config.starts_with(of))
    {
        let text = format!("service: {config:?} is out of the unit's sight: put it under /etc");
        return Err(Error::new(text));
    }
    // A file of variables that nobody has named may be absent.
    let (text, variables) = match service.manager {
        ServiceManager::Systemd => {
            (SYSTEMD, variables.unwrap_or_else(|| "-/etc/sitewatch/env".to_owned()))
        }
        ServiceManager::OpenWrt => (OPENWRT, variables.unwrap_or_default()),
    };
    let text = text.replace("@config@", &config).replace("@variables@", &variables);
    print(&Kind::of(service.mode).fill(&text))?;
    Ok(FINE)
}

/// Returns the absolute path, if a service file can hold it: no special characters of a shell or of systemd.
fn plain(path: &Path) -> Result<String, Error> {
    let whole = absolute(path).cannot(format!("tell where {} is", path.display()))?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@=".contains(c);
    let text = whole.to_str().filter(|text| text.chars().all(is_plain));
    text.map(str::to_owned).ok_or_else(|| {
        let text = format!("service: {whole:?}: a path of letters, digits and /._-+,:@= alone");
        Error::new(text)
    })
}
