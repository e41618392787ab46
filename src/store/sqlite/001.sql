-- The tables of `sitewatch run`, version 1. Times end in their unit: _ms and _s since 1970, UTC;
-- _us are durations in microseconds. Truth values are 0 and 1.

CREATE TABLE target (
    id              INTEGER PRIMARY KEY,
    name            TEXT NOT NULL UNIQUE,
    url             TEXT,
    method          TEXT,
    expected_status TEXT,
    "match"         TEXT,
    reject          TEXT,
    interval_ms     INTEGER,
    labels          TEXT,              -- a JSON object of strings
    sent_ms         INTEGER            -- the newest announcement wins
) STRICT;

CREATE TABLE node (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    run     INTEGER,
    version TEXT,
    sent_ms INTEGER,
    seen_ms INTEGER                    -- when it last had something stored
) STRICT;

-- Led by the time: new rows go to the end, and the oldest leave whole pages behind.
CREATE TABLE outcome (
    due_ms          INTEGER NOT NULL,
    target_id       INTEGER NOT NULL REFERENCES target (id),
    node_id         INTEGER NOT NULL REFERENCES node (id),
    run             INTEGER NOT NULL,
    lag_us          INTEGER NOT NULL,
    interval_ms     INTEGER NOT NULL,
    verdict         TEXT NOT NULL,
    cause           TEXT,
    responded       INTEGER NOT NULL,
    status          INTEGER,
    status_ok       INTEGER,
    match_ok        INTEGER,
    dns_us          INTEGER,
    connect_us      INTEGER,
    tls_us          INTEGER,
    first_byte_us   INTEGER,
    transfer_us     INTEGER,
    total_us        INTEGER NOT NULL,
    address         TEXT,
    http            TEXT,
    redirects       INTEGER NOT NULL,
    bytes           INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    matched         TEXT,
    excerpt         TEXT,
    error           TEXT,
    cert_expires_s  INTEGER,
    chain_expires_s INTEGER,
    PRIMARY KEY (due_ms, target_id, node_id, run)
) STRICT, WITHOUT ROWID;

-- Slots that were not checked, a run of them a row.
CREATE TABLE gap (
    from_ms     INTEGER NOT NULL,
    target_id   INTEGER NOT NULL REFERENCES target (id),
    node_id     INTEGER NOT NULL REFERENCES node (id),
    run         INTEGER NOT NULL,
    to_ms       INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    interval_ms INTEGER NOT NULL,
    cause       TEXT NOT NULL,
    PRIMARY KEY (from_ms, target_id, node_id, run)
) STRICT, WITHOUT ROWID;

-- Records that were made and had to be dropped.
CREATE TABLE loss (
    node_id INTEGER NOT NULL REFERENCES node (id),
    run     INTEGER NOT NULL,
    from_ms INTEGER NOT NULL,
    cause   TEXT NOT NULL,
    to_ms   INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    PRIMARY KEY (node_id, run, from_ms, cause)
) STRICT, WITHOUT ROWID;

-- How each target stands, as each node sees it; up and slow are one state for since_ms.
CREATE TABLE state (
    target_id    INTEGER NOT NULL REFERENCES target (id),
    node_id      INTEGER NOT NULL REFERENCES node (id),
    verdict      TEXT NOT NULL,
    since_ms     INTEGER NOT NULL,
    last_due_ms  INTEGER NOT NULL,
    interval_ms  INTEGER NOT NULL,
    first_due_ms INTEGER NOT NULL,
    PRIMARY KEY (target_id, node_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE migration (
    version    INTEGER PRIMARY KEY,
    applied_ms INTEGER NOT NULL
) STRICT;
