//! Release files, as `cross/dist` makes them of the artefacts that are there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::targets::DEADLINE;
use crate::harness::binary::Output;
use crate::harness::{Artefact, Sitewatch, Temp};

/// Runs words of the shell in this tree, with the caller's own surroundings.
#[track_caller]
fn shell(script: &str, folder: &Path) -> Output {
    let tree = env!("CARGO_MANIFEST_DIR");
    let program = Sitewatch::program("sh").args(["-c", &format!("cd {tree} && {script}"), "sh"]);
    let program = program.args([folder]).env("CARGO_NET_OFFLINE", "true").deadline(4 * DEADLINE);
    let ours = ["HOME", "PATH", "CARGO_TARGET_DIR", "CARGO_HOME", "RUSTUP_HOME", "XDG_CACHE_HOME"];
    let ours = ours.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let done = ours.fold(program, |program, (name, value)| program.env(name, value)).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    done
}

/// Some of what the licences of what is linked in ask for.
const NOTICES: [&str; 12] = [
    "\nlibrdkafka\n",
    "\nlibcurl\n",
    "\nOpenSSL\n",
    "\nnghttp2\n",
    "\nzlib\n",
    "\nmusl\n",
    "SQLite is in the public domain",
    "\nRust's standard library\n",
    "\nregex-lite ",
    "Community Data License Agreement",
    "Federico Giraud",
    "Amanieu d'Antras",
];

#[test]
#[ignore = "make test runs it over the artefacts"]
fn release_files_are_whole_and_the_same_twice() {
    let asked = Artefact::asked();
    let (temp, targets) = (Temp::new(), asked.iter().map(Artefact::target).collect::<Vec<_>>());
    let artefacts = asked[0].file().ancestors().nth(2).unwrap();
    // Nothing of who makes them: rights of new files, time zone, language.
    let make = |surroundings: &str, folder: &str| {
        let script = format!(
            "{surroundings} && SITEWATCH_ARTEFACTS={} cross/dist --cached \"$1\" {}",
            artefacts.display(),
            targets.join(" ")
        );
        shell(&script, &temp.join(folder));
    };
    make("umask 077 && export TZ=Asia/Tokyo LC_ALL=C", "first");
    make("umask 002 && export TZ=America/Lima LC_ALL=C.UTF-8 SITEWATCH_CONFIG=/c.toml", "second");
    let names = |folder: &str| {
        let entries = fs::read_dir(temp.join(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let files = names("first");
    assert_eq!(files.len(), targets.len() + 1, "{files:?}");
    assert_eq!(files, names("second"));
    for name in &files {
        let read = |folder: &str| fs::read(temp.join(folder).join(name)).unwrap();
        assert!(read("first") == read("second"), "{name:?} is another the second time");
    }
    let unpack = "cd \"$1\" && sha256sum --quiet -c SHA256SUMS && for f in *.tar.gz; do \
                  tar -tzvf $f --numeric-owner; tar -xzf $f; done";
    let listed = shell(unpack, &temp.join("first")).stdout;
    assert!(listed.lines().all(|line| line.contains(" 0/0 ")), "{listed}");

    for artefact in asked {
        let name = format!("sitewatch-{}-{}", env!("CARGO_PKG_VERSION"), artefact.target());
        let folder = temp.join("first").join(name);
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode();
        assert!(fs::read(folder.join("sitewatch")).unwrap() == fs::read(artefact.file()).unwrap());
        for name in ["config.example", "LICENSE"] {
            let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
            assert_eq!(read(name), fs::read_to_string(own).unwrap());
        }
        let notices = read("NOTICES");
        for of in NOTICES {
            assert!(notices.contains(of), "no {of:?} in NOTICES");
        }
        let printed = |manager: &str, mode: &str| {
            Sitewatch::new().args(["service", manager, mode]).run().stdout
        };
        for of in ["run", "probe", "write"] {
            let (unit, init) =
                (format!("systemd/sitewatch-{of}.service"), format!("openwrt/sitewatch-{of}"));
            assert_eq!(read(&unit), printed("--systemd", of));
            assert_eq!(read(&init), printed("--openwrt", of));
            assert_eq!((mode(&unit) & 0o777, mode(&init) & 0o777), (0o644, 0o755));
        }
        assert_eq!((mode("sitewatch") & 0o777, mode("NOTICES") & 0o777), (0o755, 0o644));
    }
}
