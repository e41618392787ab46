//! What `sitewatch --version` tells, held against what the sources say is linked in.

use crate::harness::Sitewatch;

/// A package's version in Cargo.lock.
fn locked(name: &str) -> String {
    let lock = std::fs::read_to_string("Cargo.lock").unwrap();
    let start = format!("name = \"{name}\"\nversion = \"");
    let (_, rest) = lock.split_once(&start).unwrap_or_else(|| panic!("no {name} in Cargo.lock"));
    rest.split_once('"').unwrap().0.to_owned()
}

#[test]
fn the_version_is_one_line() {
    let done = Sitewatch::new().args(["-V"]).run();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(done.stdout, format!("sitewatch {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_library_is_told_with_the_version_that_is_locked() {
    let done = Sitewatch::new().args(["-V", "-v"]).run();
    assert_eq!((done.code, &*done.stderr), (Some(0), ""), "{done:?}");
    let lines: Vec<(&str, &str)> = done
        .stdout
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
    let want = [
        "sitewatch",
        "commit",
        "rustc",
        "target",
        "rdkafka",
        "libcurl",
        "openssl",
        "nghttp2",
        "zlib",
        "sqlite",
        "roots",
    ];
    assert_eq!(names, want, "{done:?}");
    let of = |name: &str| lines.iter().find(|(of, _)| *of == name).unwrap().1;

    // Of those whose crate has the library's version behind its own: it is the crate's, and not
    // another one of this machine.
    for (name, package) in
        [("rdkafka", "rdkafka-sys"), ("libcurl", "curl-sys"), ("openssl", "openssl-src")]
    {
        let version = locked(package);
        let version = version.rsplit(['+', '-']).next().unwrap();
        let told = of(name).trim_start_matches("OpenSSL ");
        assert!(told.starts_with(version), "{name} is {told}, in Cargo.lock {version}");
    }
    for name in ["sitewatch", "rustc", "nghttp2", "zlib", "sqlite"] {
        let numbers = of(name).split(' ').next().unwrap().split(['.', '-']).take(3);
        assert_eq!(numbers.filter(|word| word.parse::<u32>().is_ok()).count(), 3, "{done:?}");
    }
    let commit = of("commit");
    let is_hash = commit.len() == 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(is_hash || commit == "unknown", "{commit}");
    assert!(of("target").contains("-linux-"), "{done:?}");
    let date = sitewatch::roots::MOZILLA_DATE;
    let count = sitewatch::roots::mozilla_count();
    assert_eq!(of("roots"), format!("Mozilla {date}, {count} certificates"));
}
