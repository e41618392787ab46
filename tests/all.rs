//! All tests, in one binary. Each line below says what its module shows. `README.md` beside this file
//! tells how to run one module.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy allows them in #[test] functions only, and all of this is test"
)]

mod harness; // real servers, certificates, the program as a program; knows nothing of the library

/// Shared by several groups: records and sites to test with, readers of stored and published data.
mod fixtures {
    pub mod postgres_rows; // reads the rows of PostgreSQL after a whole road, and judges them
    pub mod published; // reads a topic by kcat, as a stranger would
    pub mod records; // makes records to store
    pub mod recount; // counts the figures of a report from single checks and gaps
    pub mod sites; // sites of every kind on real listeners, and the verdict that each must get
    pub mod sqlite_rows; // reads the rows of `run`'s SQLite file, and computes due times
}

/// The program on one machine, command by command; `check` has a group of its own.
mod cli {
    mod attempts; // a check that fails is tried again at once, and its last attempt counts
    mod clock; // a clock that is wrong, set or asleep dates no check wrongly
    mod dates; // times beyond 2038, 2050 and 2106 are stored, reported and compared
    mod health; // `/health` always answers, however wrongly, slowly or often it is asked
    mod limits; // too many checks, bodies too large, a full disk, no descriptors: checks go on
    mod many_targets; // 1000 targets every 15 seconds, 1500 that hang, 10,000 at the start
    mod reload; // a new configuration changes only the targets that changed
    mod resolver; // a name that no server answers delays no other check
    mod run; // `run` stores each answer of every kind of site once, judged right
    mod service; // systemd and a shell accept the service files
    mod shutdown; // `run` that is stopped or killed loses no stored check
    mod state_dir; // files that cannot be written: refused at the start, survived later
    mod status; // figures of `status` equal a recount, for two nodes, three days, every verdict
    mod suspension; // a process that was suspended blames no site for that
    mod terminal; // names and texts of strangers cannot move a cursor or pass for a line
    pub mod thread_limit; // without a free thread the start fails, and a running program goes on
    pub mod uplink; // a failure of our network, name server or route makes no site down
    mod version; // `--version` names the versions of the linked libraries
}

/// `check`: a reply in, a verdict out.
mod check {
    mod certificates; // certificates that are wrong, each in its own way; the end of each one
    mod charsets; // bodies in other charsets than UTF-8, expressions beyond ASCII
    mod cookies; // cookies within one check, by RFC 6265
    mod encodings; // compressed bodies: whole, cut, followed by more, or not compressed at all
    mod handshakes; // TLS that breaks, its versions, and a new handshake for each check
    pub mod names; // name servers that are late, silent, fail or know no such name
    mod origins; // secrets go to the target's own origin alone, and are shown nowhere
    mod output; // output and exit codes of `check`; no control character reaches the terminal
    mod phases; // the time of each phase, and the phase of a timeout
    mod preemption; // time without the processor counts for no phase
    pub mod proxies; // proxies that refuse, hang, close or speak something else
    mod redirects; // redirects: which are followed, how far, by which method
    mod refusals; // requests that a site refuses on an open connection
    mod replies; // statuses, bodies, expressions; replies that are cut
    mod requests; // requests: method, headers and body, and nothing more
    mod reuse; // connections that stay open from check to check, if configured
    mod route; // a given address, family, interface, client name and version of HTTP
    mod sizes; // large or endless replies are read up to a bound
    pub mod table; // runs a table of cases: a site, a request, the expected record
    mod tcp; // `tcp://host:port`, with and without TLS, with and without a greeting
}

/// The contract of all stores, and the features of each engine.
mod store {
    mod contract; // one suite, run over every engine
    mod engine; // opens each engine, and reads it
    mod sqlite; // journals, files that are not ours, the largest size, damage
    mod sqlite_damage; // a file after a power cut or a disk error: used if sound, else set aside

    pub mod postgres {
        mod batches; // batches from Kafka: offsets beside the rows, dead letters, several writers
        mod bouncer; // behind pgbouncer, by session and by transaction
        mod dashboards; // nine dashboards that read 90 days hold up no writer
        mod faults; // a server that goes, stands still or comes back
        mod partitions; // partitions are made as rows need them, and dropped when they are old
        mod rights; // rights of each role, and the error when one is missing
        pub mod scratch; // a database of its own for each test, with our schema in it
        mod sslmode; // every `sslmode`, against servers with and without TLS
        mod views; // the views equal the program's own reports
    }
}

/// The whole road, with a real Kafka and a real PostgreSQL.
mod road {
    mod bit_flips; // a bit flipped on the road or in the broker's log is never stored
    mod broker_refusals; // brokers that refuse records: reported once, with advice
    pub mod centre; // starts writers, and waits for them
    mod clocks; // clocks of a writer or the database that are wrong drop and expire nothing
    mod consumer_group; // writers of one group do not hold up one another without a database
    mod demo; // `make demo`: the whole road in under a minute
    mod end_to_end_auth; // TLS and logins on every part of the road at once
    mod expired_messages; // messages that Kafka deleted unread are a loss with a number
    mod faults; // everything falls again and again; every check is stored once
    mod flow; // numbered checks, published by a stranger
    pub mod kafka_auth; // TLS and logins between `probe` and Kafka
    mod kafka_outage; // checks go on while Kafka comes late, dies, stands still or never was
    mod poison_messages; // foreign messages: stored if readable, else kept as dead letters
    mod postgres_outage; // PostgreSQL away, silent or locked while messages flow
    mod postgres_recovery; // PostgreSQL restored to an older state is filled up again
    pub mod probe; // `probe` publishes every check once, readable without our code
    mod recreated_topics; // a topic made anew, or a log that was cut, is noticed and read on
    mod replacement; // a writer that was killed is replaced
    mod retention; // a batch does not wait for retention
    mod roots; // trusted roots on a host without CA certificates
    mod setup; // `write --setup` makes schema, roles and topic; others need few rights
    mod shutdown; // writers stop cleanly while a server is away
    mod startup; // writers that start before their servers, in any order
    mod table_refusals; // tables that refuse records: waited for; only bad records are set aside
}

/// The static files for other machines, each run as its user would run it.
mod artefact {
    mod bare_host; // a host with nothing but the file itself
    mod checks; // `check`: TLS, HTTP, keys, certificates, packed bodies, expressions
    mod dates; // beyond 2038
    mod elf; // the right processor, no interpreter, no library, no path of ours
    mod kafka_auth; // TLS and logins of Kafka
    mod names; // names are looked up afresh at each check
    mod proxies; // proxies that fail
    mod release_files; // release archives by `cross/dist`
    mod road; // `probe`, a real Kafka, and two writers
    mod run; // `run`, and `status` over its rows
    mod targets; // runs a test over each file that `ARTEFACTS` names
}

/// The sources and the harness themselves.
mod house {
    mod arrows; // no two files use each other, and no stage knows another
    mod cross; // each target of `cross/toolchain` has its part in `Cross.toml`
    mod functions; // no function is longer than 70 lines
    mod layers; // layers, a model without I/O, times of 64 bits, length of files
    mod readme; // commands, links, paths and types in every README; filters of CI choose tests
    mod sources; // reads sources without comments, texts and tests
    mod type_names; // a type's name stands once, or its module tells
    mod uses; // finds the files that use another file's items

    mod harness {
        mod listener; // the listener sends its script, and records the truth
        mod program; // dead addresses, the program as a program, the small tools
        mod servers; // Kafka, PostgreSQL, pgbouncer and kcat start, work and end
        mod tls; // each bad certificate has the fault of its name, and no other
    }
}
