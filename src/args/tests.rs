//! Words in, commands and errors out.

use super::status::when;
use super::*;

fn words(line: &str) -> Result<Command, Error> {
    parse(line.split_whitespace().map(OsString::from))
}

#[test]
fn options_stand_before_and_behind_the_command() {
    let common = CommonOptions {
        configs: vec!["a".into(), "b".into()],
        env_file: Some("e".into()),
        verbose: 2,
        quiet: false,
    };
    let want = Command::Run(common);
    assert_eq!(words("-v -c a run -c b --env-file=e -v"), Ok(want));
}

#[test]
fn help_and_version() {
    assert_eq!(words("--help"), Ok(Command::Help));
    assert_eq!(words("status --help"), Ok(Command::Help));
    assert_eq!(words("check -h"), Ok(Command::Help));
    assert_eq!(words("-V"), Ok(Command::Version { verbose: false }));
    assert_eq!(words("-V -v"), Ok(Command::Version { verbose: true }));
    assert_eq!(words("-v -V"), Ok(Command::Version { verbose: true }));
}

#[test]
fn times_are_read() {
    assert_eq!(when("--since", "90m"), Ok(TimePoint::Ago(Duration::from_secs(5400))));
    assert_eq!(when("--since", "2026-11-21"), Ok(TimePoint::At(1_795_219_200_000)));
    assert_eq!(when("--since", "2026-11-21T03:00:00Z"), Ok(TimePoint::At(1_795_230_000_000)));
    assert_eq!(when("--since", "2040-02-29"), Ok(TimePoint::At(2_214_086_400_000)));
    assert_eq!(when("--since", "2106-02-07T06:28:16Z"), Ok(TimePoint::At(4_294_967_296_000)));
    assert_eq!(when("--since", "9999-12-31T23:59:59Z"), Ok(TimePoint::At(253_402_300_799_000)));
    assert!(when("--since", "yesterday").is_err());
    assert!(when("--since", "2026-13-21").is_err());
}

#[test]
fn what_is_wrong_names_the_word_and_what_is_allowed() {
    for (line, want) in [
        ("", "which command? run, probe, write, check, status, config or service"),
        ("fly", "unknown command \"fly\": run, probe, write, check, status, config or service"),
        ("check", "check what? a URL, the name of a target, or --all"),
        ("check --all a", "--all is every target: no names beside it"),
        ("check a --count 0", "--count \"0\": a number from 1 to 1000000"),
        ("check a --format csv", "--format \"csv\": text or json"),
        ("status --by week", "--by \"week\": hour or day"),
        ("status --label a", "--label \"a\": key=value"),
        ("status --store kafka", "--store \"kafka\": sqlite or postgres"),
        ("write --admin-url x", "--admin-url is for write --setup"),
        ("config", "config: --check, --print or --example?"),
        ("config --check --print", "config: one of --check, --print and --example"),
        ("service", "service: --systemd or --openwrt?"),
        ("service run", "service: --systemd or --openwrt?"),
        ("service --openwrt", "service: run, probe or write?"),
        ("service --systemd --openwrt run", "service: one of --systemd and --openwrt"),
        ("service --systemd run write", "service: one of run, probe and write"),
        ("service --systemd check", "service \"check\": run, probe or write"),
        ("service --sysv run", "invalid option '--sysv'; see sitewatch --help"),
        ("run --fast", "invalid option '--fast'; see sitewatch --help"),
        ("run now", "unexpected argument \"now\"; see sitewatch --help"),
        ("run -c", "missing argument for option '-c'; see sitewatch --help"),
    ] {
        assert_eq!(words(line).map_err(|error| error.to_string()), Err(want.to_owned()), "{line}");
    }
}

#[test]
fn a_service_has_a_manager_and_a_mode_in_any_order() {
    let want = ServiceOptions { manager: ServiceManager::OpenWrt, mode: DaemonName::Probe };
    assert_eq!(
        words("service --openwrt probe"),
        Ok(Command::Service(CommonOptions::default(), want))
    );
    assert_eq!(
        words("service probe --openwrt"),
        Ok(Command::Service(CommonOptions::default(), want))
    );
    assert_eq!(words("service --help"), Ok(Command::Help));
}

#[test]
fn the_keys_of_a_target_are_flags_of_check() {
    let Ok(Command::Check(_, check)) =
        words("check https://a --method HEAD --match x --insecure --count 3 --every 2s")
    else {
        panic!("not a check")
    };
    assert_eq!(check.what, ["https://a"]);
    assert_eq!((check.count, check.every), (3, Duration::from_secs(2)));
    let keys = [("method", "HEAD"), ("match", "x"), ("insecure", "")];
    assert_eq!(check.keys, keys.map(|(key, value)| (key, value.to_owned())));
}
