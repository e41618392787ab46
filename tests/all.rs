//! All tests, one binary. Each line below says what its module shows; `README.md` beside this file
//! tells how to run one of them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy allows them in #[test] functions only, and all of this is test"
)]

mod harness; // real servers, certificates, the program as a program; knows nothing of the library

/// What several groups share: records and sites to test with, readers of what was stored or sent.
mod fixtures {
    pub mod postgres_rows; // reads what PostgreSQL holds after a whole road, and judges it
    pub mod published; // reads a topic by kcat, as a stranger would
    pub mod records; // makes records to store
    pub mod recount; // counts the figures of a report from single checks and gaps
    pub mod sites; // sites of every kind on real listeners, and the verdict that each must get
    pub mod sqlite_rows; // reads what `run` has stored, and makes the grid of due times anew
}

/// The program on one machine, command by command; `check` has a group of its own.
mod cli {
    mod attempts; // a check that fails is tried again at once, and its last attempt counts
    mod clock; // a clock that is wrong, set or asleep dates no check wrongly
    mod dates; // times beyond 2038, 2050 and 2106 are stored, reported and compared
    mod health; // `/health` always answers, however wrongly, slowly or often it is asked
    mod limits; // too many checks, bodies too large, a full disk, no descriptors: checks go on
    mod many_targets; // 1000 targets every 15 seconds, 1500 that hang, 10,000 at the start
    mod reload; // another configuration under way changes what changed and nothing else
    mod resolver; // names that nobody answers for delay no other check
    mod run; // `run` stores each answer of every kind of site once, judged right
    mod service; // service files are what systemd and a shell take
    mod shutdown; // `run` told to stop, or killed, loses nothing that it had stored
    mod state_dir; // files that cannot be written: refused at the start, survived later
    mod status; // figures of `status` equal a recount, for two nodes, three days, every verdict
    mod suspension; // a process that stood still blames no site for it
    mod terminal; // names and texts of strangers cannot move a cursor or pass for a line
    pub mod thread_limit; // without a thread to spare it says so at the start, and goes on later
    pub mod uplink; // a network, name server or route of our own that fails makes no site down
    mod version; // `--version` tells what the sources say is linked in
}

/// `check`: a reply in, a verdict out.
mod check {
    mod certificates; // certificates that are wrong, each in its own way; the end of each one
    mod charsets; // bodies in other charsets than UTF-8, expressions beyond ASCII
    mod cookies; // cookies within one check, by RFC 6265
    mod encodings; // compressed bodies: whole, cut, followed by more, or not compressed at all
    mod handshakes; // TLS that breaks, its versions, and a new handshake for each check
    pub mod names; // a name server that is late, silent, fails or knows no such name
    mod origins; // secrets go to the target's own origin alone, and are shown nowhere
    mod output; // what `check` prints, its exit codes, and nothing that reaches the terminal
    mod phases; // where the time went, and where the deadline struck
    mod preemption; // a processor that is taken away is no phase of a site
    pub mod proxies; // proxies that refuse, hang, close or speak something else
    mod redirects; // which redirects are followed, how far, by which method
    mod refusals; // requests that are not taken, though the connection stands
    mod replies; // statuses, bodies, expressions; replies that are cut
    mod requests; // what a site is asked, and nothing more
    mod reuse; // connections that are kept from check to check, where that is configured
    mod route; // a given address, family, interface, client name and version of HTTP
    mod sizes; // what is large or never ends is read up to its bound
    pub mod table; // runs a table of cases: a site, what is asked of it, what must come out
    mod tcp; // `tcp://host:port`, with and without TLS, with and without a greeting
}

/// The trait of all stores, and what is each engine's own.
mod store {
    mod contract; // one suite, called for each way to open a store
    mod engine; // the ways to open a store
    mod sqlite; // journals, files that are not ours, the largest size, damage
    mod sqlite_damage; // what a power cut or a broken disk leaves: used if sound, else set aside

    pub mod postgres {
        mod batches; // batches from Kafka: offsets beside the rows, dead letters, several writers
        mod bouncer; // behind pgbouncer, by session and by transaction
        mod dashboards; // nine dashboards that read 90 days hold up no writer
        mod faults; // a server that goes, stands still or comes back
        mod partitions; // partitions are made as rows need them, and dropped when they are old
        mod rights; // who may do what, and what is said where a right is missing
        pub mod scratch; // a database of its own for each test, with our schema in it
        mod sslmode; // every `sslmode`, against servers with and without TLS
        mod views; // the views equal the program's own reports
    }
}

/// The whole road, with a real Kafka and a real PostgreSQL.
mod road {
    mod bit_flips; // a bit flipped on the road or in the broker's log is never stored as truth
    mod broker_refusals; // brokers that answer and take nothing: told once, with what to do
    pub mod centre; // writers and what they have in common; waits for what they must do
    mod clocks; // clocks of a writer or the database that are wrong drop and expire nothing
    mod consumer_group; // writers of one group do not hold up one another without a database
    mod demo; // `make demo`: the whole road in under a minute
    mod end_to_end_auth; // TLS and logins on every part of the road at once
    mod expired_messages; // messages that Kafka deleted unread are a loss with a number
    mod faults; // everything falls again and again; every check is stored once
    mod flow; // numbered checks, published by a stranger
    pub mod kafka_auth; // TLS and logins of Kafka: whom `probe` trusts and who lets it in
    mod kafka_outage; // checks go on while Kafka comes late, dies, stands still or never was
    mod poison_messages; // messages of strangers: stored if readable, else kept as dead letters
    mod postgres_outage; // PostgreSQL away, silent or locked while messages flow
    mod postgres_recovery; // PostgreSQL restored to an older state is filled up again
    pub mod probe; // `probe` publishes what was answered, once, and for strangers to read
    mod recreated_topics; // a topic made anew, or a log that was cut, is read from its start
    mod replacement; // a writer that was killed is replaced
    mod retention; // a batch does not wait for retention
    mod roots; // whom the program trusts on a host without CA certificates
    mod setup; // `write --setup` makes what is needed; everybody else has the least rights
    mod shutdown; // writers that are told to stop, whatever is away just then
    mod startup; // writers that start before what they need, in any order
    mod table_refusals; // tables that refuse: waited out, and only single bad records set aside
}

/// The static files for other machines, each run as its user would run it.
mod artefact {
    mod bare_host; // where there is nothing but the file itself
    mod checks; // `check`: TLS, HTTP, keys, certificates, packed bodies, expressions
    mod dates; // beyond 2038
    mod elf; // the right processor, no interpreter, no library, no path of ours
    mod kafka_auth; // TLS and logins of Kafka
    mod names; // names are looked up afresh at each check
    mod proxies; // proxies that fail
    mod release_files; // what `cross/dist` makes of the files
    mod road; // `probe`, a real Kafka, and two writers
    mod run; // `run`, and `status` over what it has stored
    mod targets; // runs a test over each file that `ARTEFACTS` names
}

/// The sources and the harness themselves.
mod house {
    mod arrows; // no two files use each other, and no stage knows another
    mod cross; // each target of `cross/toolchain` has its part in `Cross.toml`
    mod functions; // no function is longer than 70 lines
    mod layers; // layers, what the model must not touch, times of 64 bits, length of files
    mod readme; // every command of the README
    mod sources; // reads sources without comments, texts and tests
    mod type_names; // a type's name stands once, or its module tells
    mod uses; // finds which file uses what another defines

    mod harness {
        mod listener; // what a script says is what arrives, and what is told of it is so
        mod program; // dead addresses, the program as a program, the small tools
        mod servers; // Kafka, PostgreSQL, pgbouncer and kcat start, work and end
        mod tls; // a certificate is wrong in the way it is called, and in no other
    }
}
