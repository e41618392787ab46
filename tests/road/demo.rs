//! `make demo`: the whole road in under a minute, on this machine alone. A throw-away Kafka and
//! PostgreSQL, a probe that watches a small server of ours, a writer; then what they made of it.
//! It is no test of its own, and shows what others prove. Ctrl-C ends it, and all it has started.

#![expect(clippy::print_stdout, reason = "it is there to be looked at")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use async_signal::{Signal, Signals};
use smol::stream::StreamExt;

use crate::harness::{Kafka, Listener, Postgres, Script, Sitewatch};

/// How long checks are gathered.
const WATCHING: Duration = Duration::from_secs(12);
/// How long anything else may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Told to end.
struct Stopped;

/// Ctrl-C, seen without dying of it: what was started is ended first.
struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    fn new() -> Interrupt {
        let told = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&told);
        let mut signals = Signals::new([Signal::Int, Signal::Term, Signal::Hup]).unwrap();
        thread::spawn(move || {
            smol::block_on(async {
                signals.next().await;
            });
            seen.store(true, Ordering::Relaxed);
        });
        Interrupt(told)
    }

    /// Waits for so long, or until something is so.
    fn wait(&self, limit: Duration, mut is_so: impl FnMut() -> bool) -> Result<bool, Stopped> {
        let began = Instant::now();
        while began.elapsed() < limit {
            if self.0.load(Ordering::Relaxed) {
                return Err(Stopped);
            }
            if is_so() {
                return Ok(true);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(false)
    }
}

fn headline(text: &str) {
    println!("\n── {text} {}\n", "─".repeat(90_usize.saturating_sub(text.chars().count())));
}

fn command(text: &str) {
    println!("$ {text}");
}

fn shown(config: &str) -> String {
    config.lines().map(|line| format!("  {line}\n")).collect()
}

fn show(interrupt: &Interrupt) -> Result<(), Stopped> {
    let began = Instant::now();
    headline("a throw-away Kafka and PostgreSQL, on the loopback interface alone");
    let kafka = Kafka::start();
    println!("Kafka at {}", kafka.brokers());
    interrupt.wait(Duration::ZERO, || true)?;
    let postgres = Postgres::start();
    println!("PostgreSQL {}", postgres.psql("SHOW server_version"));
    let listener = Listener::http();
    listener.on("/shop", Script::ok("Welcome. Add to basket."));
    listener.on("/slow", Script::ok("fine").delay_first_byte(Duration::from_millis(300)));
    listener.on("/broken", Script::status(503).body("no database"));

    let watched = format!(
        "node = \"office-pi\"\n[probe]\nclock_wait = \"0s\"\n[defaults]\ninterval = \"1s\"\n\
         [[target]]\nname = \"shop\"\nurl = \"{}\"\nmatch = \"Add to basket\"\n\
         [[target]]\nname = \"slow\"\nurl = \"{}\"\nslow_after = \"200ms\"\n\
         [[target]]\nname = \"broken\"\nurl = \"{}\"\n\
         [[target]]\nname = \"nobody\"\nurl = \"http://127.0.0.1:1/\"\n",
        listener.url("/shop"),
        listener.url("/slow"),
        listener.url("/broken"),
    );
    let road = format!("[kafka]\nbrokers = [\"{}\"]\n", kafka.brokers());
    let edge = format!("{watched}{road}");
    let centre = format!("{road}[postgres]\nurl = \"{}\"\n", postgres.url());

    headline("a probe at the edge, a writer in the centre");
    println!("probe.toml\n{}", shown(&edge));
    command("sitewatch probe -c probe.toml &");
    let mut probe =
        Sitewatch::new().file("probe.toml", &edge).args(["probe", "-c", "probe.toml"]).spawn();
    println!("write.toml\n{}", shown(&centre));
    command("sitewatch write -c write.toml &");
    let mut write =
        Sitewatch::new().file("write.toml", &centre).args(["write", "-c", "write.toml"]).spawn();
    interrupt.wait(WATCHING, || probe.ended() || write.ended())?;
    println!("{}{}", probe.stderr(), write.stderr());

    show_records(&kafka);
    show_rows(&postgres, &centre);

    headline("stopping");
    for running in [&mut probe, &mut write] {
        if !running.ended() {
            running.signal(rustix::process::Signal::TERM);
        }
    }
    println!("{}", probe.wait(DEADLINE).stderr.lines().last().unwrap_or_default());
    println!("{}", write.wait(DEADLINE).stderr.lines().last().unwrap_or_default());
    println!("\n{} s in all; nothing of it is left", began.elapsed().as_secs());
    Ok(())
}

/// Prints the newest records of the topic.
fn show_records(kafka: &Kafka) {
    headline("what Kafka has: one JSON object a check");
    command("kcat -C -t sitewatch -o -2");
    let records = kafka.kcat().consume("sitewatch").unwrap();
    let records = records.iter().map(|record| String::from_utf8_lossy(&record.payload));
    for check in records.filter(|json| json.contains("\"kind\":\"check\"")).take(2) {
        println!("{check}\n");
    }
}

/// Prints the newest rows of the database, and the report over them.
fn show_rows(postgres: &Postgres, centre: &str) {
    headline("what PostgreSQL has");
    let sql = "SELECT to_char(due, 'HH24:MI:SS') AS due, target, verdict, status, \
               round(total_ms::numeric, 1) AS ms, error FROM sitewatch.checks \
               ORDER BY checks.due DESC LIMIT 8";
    command(&format!("psql -c \"{sql}\""));
    println!("{}", postgres.psql(sql));

    headline("and the figures");
    command("sitewatch status -c write.toml --since 1m");
    let status = Sitewatch::new().file("write.toml", centre).args([
        "status",
        "-c",
        "write.toml",
        "--since",
        "1m",
    ]);
    println!("{}", status.run().stdout);
}

#[test]
#[ignore = "make demo runs it"]
fn demo() {
    if show(&Interrupt::new()).is_err() {
        println!("\nstopped; nothing of it is left");
    }
}
