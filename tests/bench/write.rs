//! `make bench-write`: what `sitewatch write` costs, and the floor beside it. A topic of the
//! harness's own broker is filled first; then the release binary, one writer, stores it in the
//! harness's own PostgreSQL (which waits for the disk, as in earnest); then `psql` stores the same
//! rows from files: COPY to a staging table and INSERT … ON CONFLICT DO NOTHING, as many rows a
//! turn, into the same tables of another schema. Prints checks a second of both, CPU a check and
//! memory of the writer. All of it shares the machine: a ratio within one run says more than a rate.
//!
//! `CHECKS` (1000000), `TARGETS` (1000), `PARTITIONS` (12), `BATCH` (20000).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    dead_code,
    unused_imports,
    reason = "a program for the terminal that uses a part of the harness"
)]

#[path = "../harness/mod.rs"]
mod harness;
mod measure;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::binary::cpu;
use harness::{Kafka, Postgres, Sitewatch, Temp};
use measure::{mb, number, status_kib};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rustix::process::Signal;
use sitewatch::model::outcome::{Cause, Outcome, Phases, Verdict};
use sitewatch::model::wire::encode_check;

/// How long the writer may take in all.
const DEADLINE: Duration = Duration::from_secs(600);

/// The `i`-th check: every target in turn every 15 s, one in fifty down, times that differ.
fn outcome(i: u64, targets: u64, begin_ms: i64) -> Outcome {
    let noise = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
    let is_down = i.is_multiple_of(50);
    let phases = Phases {
        dns_us: Some(800 + noise % 900),
        connect_us: Some(9000 + noise % 3000),
        tls_us: Some(14_000 + noise % 7000),
        first_byte_us: Some(30_000 + noise % 50_000),
        transfer_us: Some(100 + noise % 2000),
    };
    Outcome {
        target: Arc::from(format!("https://site-{}.example.org/", i % targets)),
        node: Arc::from("office-pi"),
        run: 1_234_567_890,
        due_ms: begin_ms + (i / targets * 15_000 + i % targets * 15) as i64,
        lag_us: 300 + (noise % 500) as i64,
        interval_ms: 15_000,
        verdict: if is_down { Verdict::Down } else { Verdict::Up },
        cause: is_down.then_some(Cause::Status),
        responded: true,
        status: Some(if is_down { 503 } else { 200 }),
        status_ok: Some(!is_down),
        match_ok: Some(true),
        total_us: phases.total_us(),
        phases,
        address: Some("192.0.2.17".to_owned()),
        http: Some("2".into()),
        redirects: 0,
        bytes: 52_000 + noise % 9000,
        attempts: 1,
        matched: Some("Add to basket".to_owned()),
        excerpt: None,
        error: is_down.then(|| "status 503 is not accepted (200-299)".to_owned()),
        cert_expires_s: Some(1_800_000_000),
        chain_expires_s: Some(1_800_000_000),
        certificate: None,
        fell_back: false,
        reused: None,
        hops: Vec::new(),
    }
}

/// Fills the topic; gives the bytes of all records.
fn fill(brokers: &str, topic: &str, checks: u64, targets: u64) -> u64 {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("compression.codec", "lz4")
        .set("linger.ms", "50")
        .set("partitioner", "murmur2_random")
        .set("queue.buffering.max.messages", "1000000")
        .create()
        .unwrap();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let begin_ms = now_ms - (checks / targets * 15_000) as i64;
    let mut bytes = 0;
    for i in 0..checks {
        let outcome = outcome(i, targets, begin_ms);
        let json = encode_check(&outcome);
        bytes += json.len() as u64;
        let mut record = BaseRecord::to(topic).key(&*outcome.target).payload(&json);
        while let Err((_, back)) = producer.send(record) {
            producer.poll(Duration::from_millis(10));
            record = back;
        }
        if i.is_multiple_of(1000) {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    bytes
}

/// What the writer did.
struct Measured {
    /// Between the first commit that was seen and the last.
    rate: f64,
    cpu_us: f64,
    peak_kib: u64,
    whole: Duration,
}

fn writer(kafka: &str, topic: &str, postgres: &Postgres, checks: u64, batch: u64) -> Measured {
    let config = format!(
        "[kafka]\nbrokers = [\"{kafka}\"]\ntopic = \"{topic}\"\n[postgres]\nurl = \"{}\"\n\
         [write]\nbatch_max = {batch}\n[retention]\nchecks = \"100y\"\n",
        postgres.url()
    );
    let began = Instant::now();
    let mut running = Sitewatch::new()
        .file("c.toml", config)
        .args(["write", "-c", "c.toml"])
        .deadline(DEADLINE)
        .spawn();
    let pid = running.pid();
    let mut client = postgres.client();
    let mut stored = || -> u64 {
        let sql = "SELECT coalesce(sum(next), 0)::bigint FROM sitewatch.kafka_offset";
        client.query_one(sql, &[]).map_or(0, |row| row.get::<_, i64>(0) as u64)
    };
    let mut first = None;
    let end = loop {
        std::thread::sleep(Duration::from_millis(20));
        assert!(!running.ended(), "it ended: {}", running.stderr());
        assert!(began.elapsed() < DEADLINE, "not stored in time: {}", running.stderr());
        let count = stored();
        if count > 0 && first.is_none() {
            first = Some((Instant::now(), count, cpu(pid)));
        }
        if count >= checks {
            break Instant::now();
        }
    };
    let (from, count, before) = first.unwrap();
    let measured = Measured {
        rate: (checks - count) as f64 / (end - from).as_secs_f64(),
        cpu_us: (cpu(pid) - before).as_secs_f64() * 1e6 / (checks - count) as f64,
        peak_kib: status_kib(pid, "VmHWM"),
        whole: end - began,
    };
    running.signal(Signal::TERM);
    let done = running.wait(Duration::from_secs(30));
    assert_eq!(done.code, Some(0), "{done:?}");
    let rows: i64 = client.query_one("SELECT count(*) FROM sitewatch.outcome", &[]).unwrap().get(0);
    assert_eq!(rows as u64, checks, "not every check is stored once");
    measured
}

/// `psql` storing the same rows: rows a second.
fn floor(postgres: &Postgres, folder: &Temp, checks: u64, batch: u64) -> f64 {
    let mut client = postgres.client();
    client
        .batch_execute(
            "CREATE SCHEMA floor;
             CREATE TABLE floor.outcome (LIKE sitewatch.outcome INCLUDING ALL)
               PARTITION BY RANGE (due_ms);
             DO $$ DECLARE hour bigint; BEGIN
               FOR hour IN SELECT DISTINCT due_ms / 3600000 FROM sitewatch.outcome LOOP
                 EXECUTE format('CREATE TABLE floor.hour_%s PARTITION OF floor.outcome
                   FOR VALUES FROM (%s) TO (%s)', hour, hour * 3600000, (hour + 1) * 3600000);
               END LOOP; END $$;",
        )
        .unwrap();
    let mut script = String::from(
        "\\set ON_ERROR_STOP on\n\
         CREATE TEMP TABLE staging (LIKE floor.outcome) ON COMMIT DELETE ROWS;\n",
    );
    for (turn, from) in (0..checks).step_by(batch as usize).enumerate() {
        let path = folder.join(&format!("{turn}.copy"));
        let sql = format!(
            "COPY (SELECT * FROM sitewatch.outcome ORDER BY due_ms, target_id OFFSET {from} LIMIT \
             {batch}) TO STDOUT"
        );
        let mut reader = client.copy_out(&sql).unwrap();
        std::io::copy(&mut reader, &mut std::fs::File::create(&path).unwrap()).unwrap();
        writeln!(
            script,
            "BEGIN;\n\\copy staging FROM '{}'\nINSERT INTO floor.outcome SELECT * FROM staging ON \
             CONFLICT DO NOTHING;\nCOMMIT;",
            path.display()
        )
        .unwrap();
    }
    drop(client);
    let script = folder.write("floor.sql", script);
    let began = Instant::now();
    let done = std::process::Command::new("psql")
        .args(["-q", "-X", "-f", script.to_str().unwrap(), "-d", &postgres.url()])
        .output()
        .unwrap();
    let took = began.elapsed();
    assert!(done.status.success(), "{done:?}");
    let rows: i64 =
        postgres.client().query_one("SELECT count(*) FROM floor.outcome", &[]).unwrap().get(0);
    assert_eq!(rows as u64, checks);
    checks as f64 / took.as_secs_f64()
}

fn main() {
    let (checks, targets) = (number("CHECKS", 1_000_000), number("TARGETS", 1000));
    let (partitions, batch) = (number("PARTITIONS", 12), number("BATCH", 20_000));
    let kafka = Kafka::start();
    let postgres = Postgres::with_settings(
        "fsync = on\nfull_page_writes = on\nshared_buffers = 128MB\nmax_wal_size = 4GB",
    );
    let topic = "bench";
    kafka.create_topic(topic, partitions as i32).unwrap();
    let bytes = fill(&kafka.brokers(), topic, checks, targets);
    println!(
        "{checks} checks of {targets} targets, {} bytes a record, {partitions} partitions, {batch} a \
         turn",
        bytes / checks
    );
    let measured = writer(&kafka.brokers(), topic, &postgres, checks, batch);
    let size: i64 = postgres
        .client()
        .query_one(
            "SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits
             WHERE inhparent = 'sitewatch.outcome'::regclass",
            &[],
        )
        .unwrap()
        .get(0);
    println!("sitewatch write  {:.0} checks a second", measured.rate);
    println!("                 {:.1} µs of CPU a check", measured.cpu_us);
    println!("                 {:.1} MB resident at most", mb(measured.peak_kib));
    println!("                 {:.1} s from its start to the last", measured.whole.as_secs_f64());
    println!("stored           {} bytes a check, key included", size as u64 / checks);
    let folder = Temp::new();
    let floor = floor(&postgres, &folder, checks, batch);
    println!("psql, the floor  {floor:.0} rows a second");
    println!("                 the writer has {:.2} of it", measured.rate / floor);
}
