//! What is SQLite's own: its journals, files that are not ours, the largest size, damage.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use sitewatch::date::rfc3339;
use sitewatch::model::outcome::{Gap, Hop, Phases, Verdict};
use sitewatch::model::record::Record;
use sitewatch::store::{Sqlite, Store};

use crate::fixtures::records::{check, gap, now, outcome, put, target};
use crate::harness::binary::Output;
use crate::harness::clock::HOUR_MS;
use crate::harness::{Sitewatch, Temp};

fn text(path: &Path, query: &str) -> String {
    let connection = Connection::open(path).unwrap();
    connection.query_row(query, [], |row| row.get::<_, rusqlite::types::Value>(0)).map_or_else(
        |error| panic!("{query}: {error}"),
        |value| match value {
            rusqlite::types::Value::Text(text) => text,
            rusqlite::types::Value::Integer(number) => number.to_string(),
            other => format!("{other:?}"),
        },
    )
}

/// Every file of a folder with its bytes, by name.
fn files(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).ok()))
        .collect();
    all.sort();
    all
}

/// `sitewatch COMMAND` over this store, with one target that nobody answers at.
fn over(words: &str, store: &Path) -> Output {
    let config = format!(
        "node = 'a'\n[sqlite]\npath = '{}'\n[[target]]\nurl = 'http://127.0.0.1:1/'\n",
        store.display()
    );
    Sitewatch::new().file("c.toml", config).args(["-c", "c.toml"]).args(words.split(' ')).run()
}

/// Both commands refuse it, say so, and leave every byte of its folder as it was.
#[track_caller]
fn is_refused(store: &Path, words: &str) {
    let before = files(store.parent().unwrap());
    for command in ["run", "status"] {
        let done = over(command, store);
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{command}: {done:?}");
        let told = done.stderr.starts_with("sitewatch: cannot ") && done.stderr.contains(words);
        assert!(told, "{done:?}");
        assert!(done.stderr.contains(&store.display().to_string()), "{done:?}");
        assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
        assert!(files(store.parent().unwrap()) == before, "{command} has touched it");
    }
}

#[test]
fn every_field_has_its_column() {
    let folder = Temp::new();
    let path = folder.join("s.db");
    let mut o = outcome("site", "a", now(), Verdict::Slow);
    o.phases = Phases {
        dns_us: Some(1),
        connect_us: Some(2),
        tls_us: Some(3),
        first_byte_us: Some(4),
        transfer_us: Some(5),
    };
    (o.run, o.lag_us, o.interval_ms, o.total_us) = (7, -8, 9000, 15);
    (o.match_ok, o.redirects, o.bytes, o.attempts) = (Some(false), 10, 11, 12);
    (o.matched, o.excerpt) = (Some("m".to_owned()), Some("x".to_owned()));
    (o.error, o.cert_expires_s, o.chain_expires_s) = (Some("e".to_owned()), Some(13), Some(14));
    o.reused = Some(true);
    o.hops = vec![Hop { url: "h".to_owned(), status: Some(15), ..Hop::default() }];
    put(&mut Sqlite::create(&path, u64::MAX).unwrap(), &[Record::Check(Box::new(o))]).unwrap();
    let columns = "target.name, node.name, outcome.run, due_ms, lag_us, outcome.interval_ms, \
                   verdict, cause, responded, status, status_ok, match_ok, dns_us, connect_us, \
                   tls_us, first_byte_us, transfer_us, total_us, address, http, redirects, bytes, \
                   attempts, matched, excerpt, error, cert_expires_s, chain_expires_s, reused, hops"
        .replace(", ", ", '-')||' '||ifnull(");
    let query = format!(
        "SELECT ifnull({columns}, '-') FROM outcome JOIN target ON target.id = target_id
         JOIN node ON node.id = node_id"
    );
    let due_ms = now();
    let want = format!(
        "site a 7 {due_ms} -8 9000 slow - 1 200 1 0 1 2 3 4 5 15 127.0.0.1 1.1 10 11 12 m x e 13 14 \
         1 [{{\"url\":\"h\",\"status\":15}}]"
    );
    assert_eq!(text(&path, &query), want);
}

#[test]
fn a_write_ahead_log_is_in_use_and_the_file_ours() {
    let folder = Temp::new();
    let path = folder.join("deep/er/s.db");
    let store = Sqlite::create(&path, u64::MAX).unwrap();
    assert!(!store.uses_rollback_journal().unwrap());
    assert_eq!(text(&path, "PRAGMA journal_mode"), "wal");
    assert_eq!(
        text(&path, "PRAGMA application_id"),
        i64::from(u32::from_be_bytes(*b"site")).to_string()
    );
    assert_eq!(text(&path, "PRAGMA user_version"), "3");
    assert_eq!(text(&path, "SELECT max(version) FROM migration"), "3");
}

#[test]
fn a_file_with_a_log_goes_on_where_none_can_be_had() {
    let folder = Temp::new();
    let path = folder.join("s.db");
    let mut store = Sqlite::create(&path, u64::MAX).unwrap();
    put(&mut store, &[check("site", "a", now(), Verdict::Up)]).unwrap();
    // As a power cut leaves it: what was stored is in the log alone.
    let cut = Temp::new();
    for name in ["s.db", "s.db-wal"] {
        fs::copy(folder.join(name), cut.join(name)).unwrap();
    }
    assert!(fs::metadata(cut.join("s.db-wal")).unwrap().len() > 0);
    drop(store);
    for folder in [&folder, &cut] {
        fs::create_dir(folder.join("s.db-shm")).unwrap();
        let path = folder.join("s.db");
        let mut store = Sqlite::create(&path, u64::MAX).unwrap();
        assert!(store.uses_rollback_journal().unwrap());
        put(&mut store, &[check("site", "a", now() + 1000, Verdict::Up)]).unwrap();
        // Readers do not mind that it is open.
        assert_eq!(Sqlite::open(&path).unwrap().newest("a").unwrap()["site"], now() + 1000);
        assert_eq!(text(&path, "SELECT count(*) FROM outcome"), "2");
        drop(store);
        // The log is back once it can be had.
        fs::remove_dir(folder.join("s.db-shm")).unwrap();
        assert!(!Sqlite::create(&path, u64::MAX).unwrap().uses_rollback_journal().unwrap());
    }
}

#[test]
fn a_file_can_be_read_from_a_folder_that_cannot_be_written() {
    let folder = Temp::new();
    let path = folder.join("s.db");
    let records = [check("site", "a", now(), Verdict::Up), target("site", "a", now(), &[])];
    put(&mut Sqlite::create(&path, u64::MAX).unwrap(), &records).unwrap();
    let config = format!("[sqlite]\npath = '{}'\n", path.display());
    let script = format!(
        "mount --bind {0} {0} && mount -o remount,bind,ro {0} && exec {1} status -c c.toml --since 25h --format json",
        folder.path().display(),
        env!("CARGO_BIN_EXE_sitewatch"),
    );
    let done = Sitewatch::program("unshare")
        .args(["--mount", "sh", "-c", &script])
        .file("c.toml", config)
        .run();
    if done.stderr.contains("unshare") || done.stderr.contains("mount:") {
        return eprintln!("skipped: no mounting here: {}", done.stderr);
    }
    assert!(done.stdout.contains("\"target\":\"site\"") && done.stderr.is_empty(), "{done:?}");
}

#[test]
fn a_file_of_something_else_is_refused_and_not_touched() {
    let folder = Temp::new();
    let text_file = folder.write("text/notes.txt", "to do: ".repeat(1000));
    is_refused(&text_file, "it is not an SQLite file");
    let short = folder.write("short/notes.txt", "x");
    is_refused(&short, "it is not an SQLite file");

    fs::create_dir(folder.join("other")).unwrap();
    let other = folder.join("other/other.db");
    let connection = Connection::open(&other).unwrap();
    connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)").unwrap();
    is_refused(&other, "another program");
    // The same while it is in use, with a log that holds what its file does not yet.
    let _: String = connection.query_row("PRAGMA journal_mode = WAL", [], |r| r.get(0)).unwrap();
    connection.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    is_refused_in_use(&other);
    // And as a power cut leaves it.
    fs::create_dir(folder.join("cut")).unwrap();
    for end in ["", "-wal"] {
        let name = format!("other.db{end}");
        fs::copy(folder.join("other").join(&name), folder.join("cut").join(&name)).unwrap();
    }
    is_refused(&folder.join("cut/other.db"), "another program");

    fs::create_dir(folder.join("newer")).unwrap();
    let newer = folder.join("newer/s.db");
    drop(Sqlite::create(&newer, u64::MAX).unwrap());
    Connection::open(&newer).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    is_refused(&newer, "a newer sitewatch made it");

    fs::create_dir_all(folder.join("folder/s.db")).unwrap();
    is_refused(&folder.join("folder/s.db"), "it is not a file");
    symlink("/nonexistent/s.db", folder.join("folder/link.db")).unwrap();
    let done = over("run", &folder.join("folder/link.db"));
    assert_eq!(done.code, Some(2), "{done:?}");
}

/// What a program has open may have its map of the log touched, but not what it holds.
#[track_caller]
fn is_refused_in_use(store: &Path) {
    let held = || {
        files(store.parent().unwrap())
            .into_iter()
            .filter(|(path, _)| !path.ends_with("other.db-shm"))
    };
    let before: Vec<_> = held().collect();
    for command in ["run", "status"] {
        let done = over(command, store);
        assert!(done.code == Some(2) && done.stderr.contains("another program"), "{done:?}");
        assert!(held().collect::<Vec<_>>() == before, "{command} has touched it");
    }
}

#[test]
fn a_place_where_nothing_can_be_made_is_told() {
    for (path, words) in [
        ("/proc/sitewatch/s.db", "cannot make the folder /proc/sitewatch"),
        ("/proc/s.db", "cannot open /proc/s.db"),
        ("/dev/null/s.db", "cannot make the folder /dev/null"),
    ] {
        let done = over("run", Path::new(path));
        assert_eq!(done.code, Some(2), "{done:?}");
        assert!(done.stderr.contains(words) && done.stderr.lines().count() == 1, "{done:?}");
    }
}

#[test]
fn status_needs_a_store_and_says_who_makes_it() {
    let folder = Temp::new();
    for (name, words) in [("none/s.db", "no such file"), ("empty.db", "it is empty")] {
        let path = folder.join(name);
        if name == "empty.db" {
            fs::write(&path, "").unwrap();
        }
        let done = over("status", &path);
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{done:?}");
        assert!(done.stderr.contains(words) && done.stderr.contains("`sitewatch run`"), "{done:?}");
    }
    assert!(!folder.join("none").exists() && files(folder.path()).len() == 1);
    assert_eq!(fs::metadata(folder.join("empty.db")).unwrap().len(), 0);
    // For `run` an empty file is as good as none.
    Sqlite::create(&folder.join("empty.db"), u64::MAX).unwrap();
}

#[test]
fn past_its_largest_size_the_oldest_checks_go_and_are_counted() {
    // Small rows and large ones, large files and the smallest.
    for (max_size, excerpt, batches) in
        [(64 << 10, 0, 60), (256 << 10, 16 << 10, 6), (1 << 20, 100, 200)]
    {
        let folder = Temp::new();
        let path = folder.join("s.db");
        let mut store = Sqlite::create(&path, max_size).unwrap();
        let (mut made, mut expired) = (0, 0);
        for batch in 0..batches {
            let mut records: Vec<Record> = (0..50)
                .map(|i| {
                    let due_ms = now() + (batch * 50 + i) * 1000;
                    let mut outcome = outcome("site", "a", due_ms, Verdict::Up);
                    outcome.excerpt = (excerpt > 0).then(|| "x".repeat(excerpt));
                    Record::Check(Box::new(outcome))
                })
                .collect();
            records.push(Record::Gap(Gap {
                from_ms: now() + batch * 50_000 + 500,
                ..gap("site", "a", now(), 1)
            }));
            let written = put(&mut store, &records).unwrap();
            assert_eq!(written.checks, 50);
            (made, expired) = (made + written.checks, expired + written.expired);
            let pages: u64 = text(&path, "SELECT (SELECT page_count FROM pragma_page_count) - (SELECT freelist_count FROM pragma_freelist_count)").parse().unwrap();
            assert!(pages * 4096 <= max_size, "{} KiB after batch {batch}", pages * 4);
        }
        drop(store);
        assert!(expired > 0, "{max_size} {excerpt}");
        // The file has the size of a batch on top, and no more, however long it goes on.
        let batch_size = 50 * (excerpt as u64 + 1000);
        assert!(fs::metadata(&path).unwrap().len() <= max_size + batch_size);
        let count = |query: &str| text(&path, query).parse::<u64>().unwrap();
        assert_eq!(count("SELECT count(*) FROM outcome"), made - expired);
        assert_eq!(count("SELECT sum(count) FROM loss WHERE cause = 'expired'"), expired);
        assert_eq!(count("SELECT count(*) FROM loss"), 1);
        // Those that went are the oldest, and the loss says from when to when.
        let first = count("SELECT min(due_ms) FROM outcome");
        assert_eq!(first, now() as u64 + expired * 1000);
        assert_eq!(count("SELECT from_ms FROM loss"), now() as u64);
        assert!((first - 1000..first).contains(&count("SELECT to_ms FROM loss")));
        // No more of them went than needed: at least half of it is in use.
        if excerpt < 1000 {
            assert!(count("SELECT page_count FROM pragma_page_count") * 4096 > max_size / 2);
            assert!(count("SELECT count(*) FROM outcome") > 50, "more than the last batch");
        }
        let gaps = count("SELECT count(*) FROM gap");
        assert!(gaps <= (made - expired) / 50 + 1, "{gaps} gaps are left");
        assert_eq!(text(&path, "PRAGMA integrity_check"), "ok");
        let [since, until] = [now(), now() + 24 * HOUR_MS].map(rfc3339);
        let told = over(&format!("status --since {since} --until {until}"), &path).stderr;
        let want = format!("sitewatch: {expired} checks went to keep the store within max_size\n");
        assert_eq!(told, want);
    }
}

#[test]
fn checks_of_one_moment_do_not_keep_a_store_from_shrinking() {
    let folder = Temp::new();
    let path = folder.join("s.db");
    let mut store = Sqlite::create(&path, 128 << 10).unwrap();
    for moment in 0..5 {
        let records: Vec<Record> = (0..400)
            .map(|i| check(&format!("site {i}"), "a", now() + moment * 1000, Verdict::Up))
            .collect();
        put(&mut store, &records).unwrap();
    }
    let left: u64 = text(&path, "SELECT count(DISTINCT due_ms) FROM outcome").parse().unwrap();
    assert!(left < 5, "nothing went");
    assert_eq!(text(&path, "SELECT count(*) FROM outcome"), (left * 400).to_string());
}

#[test]
fn a_damaged_file_is_told_and_nothing_breaks() {
    let folder = Temp::new();
    let path = folder.join("s.db");
    let mut store = Sqlite::create(&path, u64::MAX).unwrap();
    let records: Vec<Record> = (0..5000)
        .map(|i| check("site", "a", now() - i * 1000, Verdict::Up))
        .chain([target("site", "a", now(), &[])])
        .collect();
    put(&mut store, &records).unwrap();
    drop(store);
    let whole = fs::read(&path).unwrap();
    let pages = whole.len() / 4096;
    for (from, count) in [(2, pages - 2), (pages / 2, 2), (0, 1), (1, 1)] {
        fs::write(&path, &whole).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        // The first 100 bytes stay: without them it is no file of ours.
        let at = (from * 4096).max(100);
        file.write_all_at(&vec![0xA5; (from + count) * 4096 - at], at as u64).unwrap();
        let done = over("status", &path);
        assert_eq!((done.code, done.signal), (Some(2), None), "{from}+{count}: {done:?}");
        let told = done.stderr.contains("damaged") && !done.stderr.contains("panicked");
        assert!(told, "{from}+{count}: {done:?}");
    }
    // Cut in the middle, and down to less than a header.
    for size in [whole.len() / 2, 5000, 4096, 50] {
        fs::write(&path, &whole[..size]).unwrap();
        let done = over("status", &path);
        assert_eq!((done.code, done.signal), (Some(2), None), "{size}: {done:?}");
        let words = ["damaged", "not an SQLite file", "no such table"];
        assert!(words.iter().any(|words| done.stderr.contains(words)), "{size}: {done:?}");
        if size != 5000 && size != whole.len() / 2 {
            let ran = over("run", &path);
            assert_eq!(ran.code, Some(2), "{size}: {ran:?}");
        }
    }
}
