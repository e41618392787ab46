//! The service files that `sitewatch service` prints: systemd itself judges the one, a shell with
//! procd's functions stubbed the other; and what they start is a command of ours.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Sitewatch, Temp, eventually};

const MODES: [&str; 3] = ["run", "probe", "write"];

/// Names looked up at once by default: `max_in_flight`.
const LOOKUPS: usize = 100;

/// What procd and the shell were asked to do, one a line.
const STUB: &str = r#"
for name in procd_open_instance procd_set_param procd_close_instance mkdir chown chmod; do
    eval "$name() { printf '%s' $name; [ \$# = 0 ] || printf ' <%s>' \"\$@\"; echo; }"
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

/// A call as the stub notes it, of words without spaces.
fn call(words: &str) -> String {
    let (name, words) = words.split_once(' ').unwrap();
    words.split(' ').fold(name.to_owned(), |line, word| format!("{line} <{word}>"))
}

/// What an init script does, one call a line, as procd would see it.
#[track_caller]
fn told(text: &str) -> Vec<String> {
    let temp = Temp::new();
    let (stub, script) = (temp.write("rc.common", STUB), temp.write("init", text));
    let done = Sitewatch::program("/bin/sh").args([&stub, &script]).run();
    assert_eq!((done.code, &*done.stderr), (Some(0), ""), "{done:?}");
    done.stdout.lines().map(|line| line.trim_end().to_owned()).collect()
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
        assert_eq!(unit.contains("\nExecReload=/bin/kill -HUP $MAINPID\n"), mode != "write");
        starts(&command);
        for line in [
            "Type=exec",
            "DynamicUser=yes",
            "StateDirectory=sitewatch",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "MemoryDenyWriteExecute=yes",
            "EnvironmentFile=-/etc/sitewatch/env",
            "CapabilityBoundingSet=",
            "WantedBy=multi-user.target",
        ] {
            assert!(unit.lines().any(|of| of == line), "no {line} in {unit}");
        }
        let mib = |name| value(&unit, name).strip_suffix('M').unwrap().parse::<u32>().unwrap();
        assert!(mib("MemoryHigh") < mib("MemoryMax") && mib("MemoryMax") < 512, "{unit}");
        assert_eq!(mib("LimitDATA"), mib("MemoryMax"));
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
    for mode in MODES {
        let text = printed("--openwrt", mode);
        assert!(text.starts_with("#!/bin/sh /etc/rc.common\n"), "{text}");
        let lines = told(&text);
        let command = format!("/usr/bin/sitewatch {mode} -c /etc/sitewatch/config.toml");
        starts(&command);
        let command = format!("procd_set_param command {command}");
        assert!(lines.iter().any(|of| of == "USE_PROCD=1 START=99 STOP=10"), "{lines:#?}");
        for line in [
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
            assert!(lines.contains(&call(line)), "no {line:?} in {lines:#?}");
        }
        // As much data as systemd is told.
        let unit = printed("--systemd", mode);
        let mib = value(&unit, "MemoryMax").strip_suffix('M').unwrap().parse::<u64>().unwrap();
        let data = mib << 20;
        let limits = format!("procd_set_param <limits> <nofile=65536 65536> <data={data} {data}>");
        assert!(lines.contains(&limits), "no {limits:?} in {lines:#?}");
        let open = lines.iter().position(|line| line.starts_with("procd_open_instance"));
        assert!(open < Some(lines.len() - 1) && lines.last().unwrap() == "procd_close_instance");
        // Told to a user, a reader of comments, in lines that a router's editor can show.
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    }
}

#[test]
fn a_service_has_the_configuration_that_it_was_printed_with() {
    let print = |words: &str, named: &str| {
        let words = ["service"].into_iter().chain(words.split(' '));
        Sitewatch::new().args(words).env("SITEWATCH_CONFIG", named).run()
    };
    let unit = print("--systemd run -c /srv/sites.toml --env-file /srv/env", "/no").stdout;
    assert_eq!(value(&unit, "ExecStart"), "/usr/local/bin/sitewatch run -c /srv/sites.toml");
    assert_eq!(value(&unit, "EnvironmentFile"), "/srv/env");
    let init = print("--openwrt probe -c /srv/sites.toml --env-file /srv/env", "").stdout;
    let lines = told(&init);
    for line in [
        "procd_set_param command /usr/bin/sitewatch probe -c /srv/sites.toml --env-file /srv/env",
        "procd_set_param file /srv/sites.toml /usr/bin/sitewatch /srv/env",
    ] {
        assert!(lines.contains(&call(line)), "no {line:?} in {lines:#?}");
    }
    // By the variable, and seen from where it was printed.
    let init = print("--openwrt write", "sub/c.toml").stdout;
    let config = init.lines().find_map(|line| line.strip_prefix("CONFIG=")).unwrap();
    assert!(config.starts_with('/') && config.ends_with("/sub/c.toml"), "{config}");

    for (words, named, why) in [
        ("--systemd run -c a.toml -c b.toml", "", "service: one --config: a file, or a folder"),
        ("--systemd run", "/a b.toml", "service: \"/a b.toml\": a path of letters, digits and"),
        ("--systemd run -c /home/pi/c.toml", "", "is out of the unit's sight: put it under /etc"),
        ("--openwrt run --env-file /50%", "", "service: \"/50%\": a path of letters, digits and"),
    ] {
        let done = print(words, named);
        assert_eq!((done.code, &*done.stdout), (Some(2), ""), "{done:?}");
        assert!(done.stderr.contains(why), "{done:?}");
    }
}

/// Names that nobody answers for take a thread each for a while, and must not take others' place.
#[test]
fn under_the_unit_s_limits_every_name_has_a_thread_of_its_own() {
    let unit = printed("--systemd", "run");
    let limit = |name, unit_of| value(&unit, name).strip_suffix(unit_of).unwrap().to_owned();
    let kib = limit("LimitDATA", 'M').parse::<u32>().unwrap() << 10;
    let script = format!(
        "mount --bind resolv.conf /etc/resolv.conf && ulimit -d {kib} && ulimit -s {} && exec \"$@\"",
        limit("LimitSTACK", 'K')
    );
    let silent = UdpSocket::bind("127.0.53.99:53").unwrap();
    let config: String = (0..LOOKUPS)
        .fold("[defaults]\ninterval = '5s'\ntimeout = '5s'\n".to_owned(), |text, i| {
            format!("{text}[[target]]\nname = '{i}'\nurl = 'http://dead-{i}.example/'\n")
        });
    let program = Sitewatch::program("unshare")
        .file("resolv.conf", format!("nameserver {}\n", silent.local_addr().unwrap().ip()))
        .file("c.toml", config)
        .args(["--mount", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_sitewatch")]);
    let running = program.args(["run", "-c", "c.toml"]).spawn();
    let threads = || std::fs::read_dir(format!("/proc/{}/task", running.pid())).unwrap().count();
    eventually(Duration::from_secs(20), "a thread for each name", || threads() >= LOOKUPS);
}
