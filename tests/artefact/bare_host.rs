//! Each artefact where there is nothing but itself: no certificates, and in the end no file at all.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::targets::{DEADLINE, each};
use crate::fixtures::sqlite_rows::Stored;
use crate::harness::{
    Artefact, Fields, Listener, Script, Sitewatch, Temp, certs, eventually, json,
};

/// The line of a file of configuration for this listener, which keeps serials.
fn target(listener: &Listener) -> String {
    let url = listener.url("/");
    format!("[[target]]\nname = 'site'\nurl = '{url}'\ninterval = '3s'\nmatch = 'serial=[0-9]+'\n")
}

fn listener() -> Listener {
    let listener = Listener::https(&certs::set().good);
    listener.always(Script::ok("fine").serial());
    listener
}

/// `check` of a server whose authority nobody knows; a file that names it helps.
#[track_caller]
fn trusts_whom_it_should(listener: &Listener, ca: &str, program: impl Fn() -> Sitewatch) {
    let check = |flags: &[&str]| {
        let words = ["check", &listener.url("/"), "--format", "json"];
        let done = program().deadline(DEADLINE).args(words).args(flags).run();
        let record = json::parse(&done.stdout);
        let cause = if record.has("cause") { record.text("cause") } else { "" };
        let found = (record.text("verdict").to_owned(), cause.to_owned());
        (done.code, found.0, found.1)
    };
    assert_eq!(check(&["--ca-file", ca]), (Some(0), "up".into(), String::new()));
    let want = (Some(1), "down".into(), "certificate_untrusted".into());
    assert_eq!(check(&[]), want);
}

#[test]
#[ignore = "make test runs it over the artefacts"]
fn without_the_host_s_roots_it_has_its_own() {
    each(|artefact| {
        let listener = listener();
        let ca = certs::ca_file().to_str().unwrap();
        trusts_whom_it_should(&listener, ca, || artefact.sitewatch().bare());
        // Its OpenSSL can read each of them.
        let check = ["check", &listener.url("/"), "-v", "-v"];
        let done = artefact.sitewatch().bare().deadline(DEADLINE).args(check).run();
        let roots = format!("roots: {} of Mozilla", sitewatch::roots::mozilla_count());
        assert!(done.stderr.contains(&roots), "{done:?}");
    });
}

/// A folder that is to be all there is: the artefact, and its emulator where it needs one.
struct Root {
    folder: Temp,
    words: Vec<String>,
}

impl Root {
    fn new(artefact: &Artefact) -> Root {
        let folder = Temp::new();
        let put = |from: &Path, name: &str| {
            let to = folder.join(name);
            fs::copy(from, &to).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
        };
        let mut words: Vec<String> =
            artefact.emulator().iter().map(|word| (*word).to_owned()).collect();
        if let Some(emulator) = words.first_mut() {
            let found =
                ["/usr/local/bin", "/usr/bin", "/bin"].map(|at| Path::new(at).join(&emulator));
            put(found.iter().find(|path| path.exists()).unwrap(), "qemu");
            *emulator = "/qemu".to_owned();
        }
        put(artefact.file(), "sitewatch");
        words.push("/sitewatch".to_owned());
        Root { folder, words }
    }

    /// A call within it.
    fn sitewatch(&self) -> Sitewatch {
        let root = format!("--root={}", self.folder.path().display());
        let program = Sitewatch::program("unshare").args([root]).args(&self.words);
        program.env("HOME", "/").env("STATE_DIRECTORY", "/state")
    }
}

#[test]
#[ignore = "make test runs it over the artefacts"]
fn it_needs_no_file_but_itself() {
    each(|artefact| {
        let (root, listener) = (Root::new(artefact), listener());
        let done = root.sitewatch().deadline(DEADLINE).args(["-V", "-v"]).run();
        assert!(done.code == Some(0) && done.stdout.contains("openssl  "), "{done:?}");

        root.folder.write("ca.pem", fs::read(certs::ca_file()).unwrap());
        trusts_whom_it_should(&listener, "/ca.pem", || root.sitewatch());

        fs::create_dir(root.folder.join("state")).unwrap();
        let config = format!(
            "node = 'here'\n[probe]\nclock_wait = '0s'\n[defaults]\nca_file = '/ca.pem'\n{}",
            target(&listener)
        );
        root.folder.write("c.toml", config);
        let seen = listener.log().len();
        let mut running = root.sitewatch().args(["run", "-c", "/c.toml"]).spawn();
        running.await_stderr("watching", DEADLINE);
        eventually(DEADLINE, "three checks", || listener.log().len() >= seen + 3);
        running.signal(Signal::TERM);
        let done = running.wait(DEADLINE);
        assert_eq!(done.code, Some(0), "{done:?}");
        let stored = Stored::read(&root.folder.join("state/sitewatch.db"));
        let answered = listener.settled(DEADLINE).iter().filter(|seen| seen.answered).count();
        assert!(stored.checks.iter().all(|row| row.verdict == "up"), "{stored:?}");
        // One was for `trusts_whom_it_should`; whom it does not trust it asks nothing.
        assert_eq!(stored.checks.len(), answered - 1, "{stored:?}");
        let mut left: Vec<PathBuf> =
            fs::read_dir(root.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        left.retain(|path| {
            !["sitewatch", "qemu", "ca.pem", "c.toml", "state"]
                .iter()
                .any(|name| path.ends_with(name))
        });
        assert!(left.is_empty(), "it made {left:?}");
    });
}
