//! The service files that `sitewatch service` prints: systemd itself judges the one, a shell with
//! procd's functions stubbed the other; and what they start is a command of ours.

use std::path::Path;
use std::process::Command;

use crate::harness::{Sitewatch, Temp};

const MODES: [&str; 3] = ["run", "probe", "write"];

/// What procd and the shell were asked to do, one a line.
const STUB: &str = r#"
for name in procd_open_instance procd_set_param procd_close_instance mkdir chown chmod; do
    eval "$name() { echo $name \"\$@\"; }"
done
. "$1"
echo "USE_PROCD=$USE_PROCD START=$START STOP=$STOP"
start_service
"#;

#[track_caller]
fn printed(manager: &str, mode: &str) -> String {
    let done = Sitewatch::new().args(["service", manager, mode]).run();
    assert_eq!((done.code, &*done.stderr), (Some(0), ""), "{done:?}");
    // Nothing is left that should have been filled in: @name@.
    let is_name = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let left: Vec<&str> = done.stdout.split('@').skip(1).filter(is_name).collect();
    assert!(left.is_empty(), "{left:?} in {}", done.stdout);
    done.stdout
}

/// The value of a line `NAME=value` of a unit.
fn value<'a>(unit: &'a str, name: &str) -> &'a str {
    let line = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {name}= in {unit}"))
}

/// The words behind the program's name start it; that there is no configuration is all it minds.
#[track_caller]
fn starts(words: &str) {
    let words = words.split(' ').skip(1);
    let done = Sitewatch::new().args(words).run();
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.contains("/etc/sitewatch/config.toml"), "{done:?}");
}

#[test]
fn the_unit_is_hardened_and_starts_the_mode() {
    for mode in MODES {
        let unit = printed("--systemd", mode);
        let command = format!("/usr/local/bin/sitewatch {mode} -c /etc/sitewatch/config.toml");
        assert_eq!(value(&unit, "ExecStart"), command);
        starts(&command);
        for line in [
            "Type=exec",
            "DynamicUser=yes",
            "StateDirectory=sitewatch",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "MemoryDenyWriteExecute=yes",
            "CapabilityBoundingSet=",
            "WantedBy=multi-user.target",
        ] {
            assert!(unit.lines().any(|of| of == line), "no {line} in {unit}");
        }
        let mib = |name| value(&unit, name).strip_suffix('M').unwrap().parse::<u32>().unwrap();
        assert!(mib("MemoryHigh") < mib("MemoryMax") && mib("MemoryMax") < 512, "{unit}");
    }
}

#[test]
fn systemd_itself_finds_no_fault_and_little_exposure() {
    let judge = Path::new("/usr/bin/systemd-analyze");
    if !judge.exists() {
        eprintln!("skipped: no systemd-analyze on this machine");
        return;
    }
    let temp = Temp::new();
    for mode in MODES {
        // That the program is not installed here is no fault of the unit's.
        let unit = printed("--systemd", mode).replace("/usr/local/bin/sitewatch", "/bin/true");
        let path = temp.write(&format!("sitewatch-{mode}.service"), unit);
        let asked = |words: &[&str]| {
            let output = Command::new(judge).args(words).arg(&path).output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8(said).unwrap())
        };
        assert_eq!(asked(&["verify"]), (true, String::new()), "{mode}");
        let (good, said) = asked(&["security", "--offline=true", "--threshold=20", "--no-pager"]);
        assert!(good && said.contains("exposure level"), "{mode}: {said}");
    }
}

#[test]
fn the_init_script_tells_procd_what_to_start() {
    let temp = Temp::new();
    let stub = temp.write("rc.common", STUB);
    for mode in MODES {
        let text = printed("--openwrt", mode);
        assert!(text.starts_with("#!/bin/sh /etc/rc.common\n"), "{text}");
        let script = temp.write(&format!("{mode}.init"), &text);
        let done = Sitewatch::program("/bin/sh").args([&stub, &script]).run();
        assert_eq!((done.code, &*done.stderr), (Some(0), ""), "{done:?}");
        let lines: Vec<&str> = done.stdout.lines().collect();
        let command = format!("/usr/bin/sitewatch {mode} -c /etc/sitewatch/config.toml");
        starts(&command);
        let command = format!("procd_set_param command {command}");
        for line in [
            "USE_PROCD=1 START=95 STOP=10",
            "mkdir -p /var/lib/sitewatch",
            "chown -R nobody /var/lib/sitewatch",
            &command,
            "procd_set_param file /etc/sitewatch/config.toml /usr/bin/sitewatch",
            "procd_set_param env STATE_DIRECTORY=/var/lib/sitewatch",
            "procd_set_param user nobody",
            "procd_set_param no_new_privs 1",
            "procd_set_param respawn 3600 5 0",
            "procd_set_param stderr 1",
        ] {
            assert!(lines.contains(&line), "no {line:?} in {lines:#?}");
        }
        let limits = lines.iter().find(|line| line.starts_with("procd_set_param limits"));
        assert!(limits.is_some_and(|line| line.contains("nofile=65536 65536 data=")), "{lines:?}");
        let open = lines.iter().position(|line| line.starts_with("procd_open_instance"));
        assert!(open < Some(lines.len() - 1) && lines.ends_with(&["procd_close_instance"]));
        // Told to a user, a reader of comments, in lines that a router's editor can show.
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    }
}
