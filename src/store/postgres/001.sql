-- The tables of `sitewatch write`, version 1. Times end in their unit: _ms and _s since 1970, UTC;
-- _us are durations in microseconds. Run with the schema alone on the search path.
--
-- Widths: names have ids of 4 bytes, since each check has two. Durations have 8: 4 bytes of
-- microseconds end at 35 minutes, a timeout at a day, and a number that is shown is one that was
-- measured. Columns stand in the order that needs the least padding: those of 8 bytes that are
-- always there, those of 4, of 2, of 1, then what may be absent.

CREATE TABLE target (
    id              integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL UNIQUE,
    url             text,
    method          text,
    expected_status text,
    "match"         text,
    reject          text,
    interval_ms     bigint,
    labels          jsonb,             -- an object of strings
    sent_ms         bigint             -- the newest announcement wins
) WITH (fillfactor = 50);

CREATE TABLE node (
    id              integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL UNIQUE,
    run             integer,
    version         text,
    sent_ms         bigint,            -- the newest announcement wins
    seen_ms         bigint,            -- when it last had something stored
    previous_run    integer,
    last_due_ms     bigint,            -- of the run before
    spool_count     bigint,
    spool_oldest_ms bigint,
    clock_synced    boolean
) WITH (fillfactor = 50);

-- Checks, an hour a partition: see make_hour. The key is led by the time, so that new rows go to
-- the end. No foreign keys: they would cost more than all else, and no target or node ever goes.
CREATE TABLE outcome (
    due_ms          bigint NOT NULL,
    total_us        bigint NOT NULL,
    lag_us          bigint NOT NULL,
    interval_ms     bigint NOT NULL,
    bytes           bigint NOT NULL,
    target_id       integer NOT NULL,
    node_id         integer NOT NULL,
    run             integer NOT NULL,
    redirects       integer NOT NULL,
    attempts        integer NOT NULL,
    status          smallint,
    responded       boolean NOT NULL,
    status_ok       boolean,
    match_ok        boolean,
    reused          boolean,
    dns_us          bigint,
    connect_us      bigint,
    tls_us          bigint,
    first_byte_us   bigint,
    transfer_us     bigint,
    cert_expires_s  bigint,
    chain_expires_s bigint,
    verdict         text NOT NULL,
    cause           text,
    address         text,
    http            text,
    matched         text,
    excerpt         text,
    error           text,
    hops            jsonb,             -- an array of objects
    PRIMARY KEY (due_ms, target_id, node_id, run)
) PARTITION BY RANGE (due_ms);

-- Slots that were not checked, a run of them a row.
CREATE TABLE gap (
    from_ms     bigint NOT NULL,
    target_id   integer NOT NULL REFERENCES target (id),
    node_id     integer NOT NULL REFERENCES node (id),
    run         integer NOT NULL,
    to_ms       bigint NOT NULL,
    count       bigint NOT NULL,
    interval_ms bigint NOT NULL,
    cause       text NOT NULL,
    PRIMARY KEY (from_ms, target_id, node_id, run)
);

-- Records that were made and had to be dropped.
CREATE TABLE loss (
    node_id integer NOT NULL REFERENCES node (id),
    run     integer NOT NULL,
    from_ms bigint NOT NULL,
    cause   text NOT NULL,
    to_ms   bigint NOT NULL,
    count   bigint NOT NULL,
    PRIMARY KEY (node_id, run, from_ms, cause)
);

-- How each target stands, as each node sees it; up and slow are one state for since_ms. Written
-- with each batch: pages have room for a second version of each row, so that the index rests.
CREATE TABLE state (
    target_id    integer NOT NULL REFERENCES target (id),
    node_id      integer NOT NULL REFERENCES node (id),
    verdict      text NOT NULL,
    since_ms     bigint NOT NULL,
    last_due_ms  bigint NOT NULL,
    interval_ms  bigint NOT NULL,
    first_due_ms bigint NOT NULL,
    PRIMARY KEY (target_id, node_id)
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

-- The next offset to read, moved in the transaction of the rows.
CREATE TABLE kafka_offset (
    cluster   text NOT NULL,
    topic     text NOT NULL,
    partition integer NOT NULL,
    next      bigint NOT NULL,
    PRIMARY KEY (cluster, topic, partition)
) WITH (fillfactor = 40);

-- Messages that could not be read. Payloads are not compressed, so that what they take on the disk
-- says whether they are too many.
CREATE TABLE dead_letter (
    cluster       text NOT NULL,
    topic         text NOT NULL,
    partition     integer NOT NULL,
    record_offset bigint NOT NULL,
    received_at   timestamptz NOT NULL,
    reason        text NOT NULL,
    detail        text NOT NULL,
    payload       bytea NOT NULL,      -- at most 64 KiB of it
    PRIMARY KEY (cluster, topic, partition, record_offset)
);
ALTER TABLE dead_letter ALTER payload SET STORAGE EXTERNAL;
CREATE INDEX ON dead_letter (received_at);

-- The name of the partition of an hour: its beginning, in UTC.
CREATE FUNCTION hour_name(hour_ms bigint) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path FROM CURRENT
    SET timezone = 'UTC'
RETURN 'outcome_' || to_char(to_timestamp(hour_ms / 1000), 'YYYYMMDDHH24');

-- Makes the partition of an hour, if it is not there yet, with the rights of the schema's owner.
-- A table that is made apart and then attached locks out neither writers nor readers. Two that
-- come for the same hour queue up.
CREATE FUNCTION make_hour(hour_ms bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT
AS $$
DECLARE
    name text := hour_name(hour_ms);
BEGIN
    IF hour_ms % 3600000 <> 0 OR hour_ms < 0 OR hour_ms >= 253402300800000 THEN
        RAISE EXCEPTION 'no hour of the years 1970 to 9999 begins at % ms', hour_ms
            USING ERRCODE = 'datetime_field_overflow';
    END IF;
    -- Once without the lock, which whoever tends the table holds too, and once behind it.
    FOR look IN 1..2 LOOP
        PERFORM FROM pg_inherits JOIN pg_class ON oid = inhrelid
            WHERE inhparent = 'outcome'::regclass AND relname = name;
        IF FOUND THEN
            RETURN;
        END IF;
        LOCK TABLE outcome IN SHARE UPDATE EXCLUSIVE MODE;
    END LOOP;
    -- Rows come once and stay: statistics and the map of visible pages need no more than a few
    -- looks while the hour lasts.
    EXECUTE format('CREATE TABLE %I (LIKE outcome INCLUDING CONSTRAINTS) WITH (
        autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_analyze_scale_factor = 0.5)', name);
    EXECUTE format('ALTER TABLE outcome ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
        name, hour_ms, hour_ms + 3600000);
END
$$;

-- Drops up to `most` hours that end at `before_ms` or earlier, oldest first, with the rights of
-- the schema's owner. To drop one locks out everybody, so this waits but shortly, and what others
-- hold stays for the next time: how many were dropped, and how many were left.
CREATE FUNCTION drop_hours(
    before_ms bigint, most integer, OUT dropped integer, OUT remaining integer
)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT
    SET lock_timeout = '300ms'
AS $$
DECLARE
    names name[];
    name name;
BEGIN
    SELECT array_agg(relname ORDER BY relname) INTO names
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'outcome'::regclass AND relname < hour_name(before_ms - before_ms % 3600000);
    dropped := 0;
    remaining := coalesce(cardinality(names), 0);
    IF remaining = 0 THEN
        RETURN;
    END IF;
    BEGIN
        LOCK TABLE ONLY outcome IN ACCESS EXCLUSIVE MODE;
    EXCEPTION WHEN lock_not_available THEN
        RETURN;
    END;
    FOREACH name IN ARRAY names[:most] LOOP
        BEGIN
            EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE NOWAIT', name);
            EXECUTE format('DROP TABLE %I', name);
            dropped := dropped + 1;
            remaining := remaining - 1;
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION make_hour(bigint), drop_hours(bigint, integer) FROM PUBLIC;
