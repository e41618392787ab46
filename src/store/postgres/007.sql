-- Checks lie in a partition a day. One query over 90 days took the locks of 2184 partitions of an hour
-- and of their keys, and two of them all that a server has by default; of days they are 184, and
-- planned in as much less time. The key is led by the time, so that a few hours of a day are found as
-- before. Hours that have a partition stay in it until their time is over, and so does the rest of a
-- day that was begun so.

-- The name of the partition of a day: its beginning, in UTC.
CREATE FUNCTION day_name(ms bigint) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path FROM CURRENT
    SET timezone = 'UTC'
RETURN 'outcome_' || to_char(to_timestamp(ms / 1000), 'YYYYMMDD');

-- The partitions and their times, by their names: outcome_YYYYMMDD or outcome_YYYYMMDDHH.
CREATE FUNCTION partitions(OUT name name, OUT begins_ms bigint, OUT ends_ms bigint)
    RETURNS SETOF record
    LANGUAGE sql STABLE
    SET search_path FROM CURRENT
    SET timezone = 'UTC'
BEGIN ATOMIC
    SELECT relname, begins_ms,
        begins_ms + CASE WHEN length(digits) = 8 THEN 86400000 ELSE 3600000 END
    FROM pg_inherits JOIN pg_class ON oid = inhrelid,
        -- Null for a table that somebody else has attached.
        substring(relname::text, '^outcome_([0-9]{8}(?:[0-9]{2})?)$') AS digits,
        CAST(extract(epoch FROM to_timestamp(rpad(digits, 10, '0'), 'YYYYMMDDHH24')) * 1000 AS bigint)
            AS begins_ms
    WHERE inhparent = 'outcome'::regclass AND digits IS NOT NULL;
END;

-- Makes the partition that holds an hour, if it is not there yet, with the rights of the schema's
-- owner. A table that is made apart and then attached locks out neither writers nor readers. Two that
-- come for the same one queue up.
CREATE OR REPLACE FUNCTION make_hour(hour_ms bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT
AS $$
DECLARE
    name      text := day_name(hour_ms);
    begins_ms bigint := hour_ms - hour_ms % 86400000;
    width_ms  bigint := 86400000;
BEGIN
    IF hour_ms % 3600000 <> 0 OR hour_ms < 0 OR hour_ms >= 253402300800000 THEN
        RAISE EXCEPTION 'no hour of the years 1970 to 9999 begins at % ms', hour_ms
            USING ERRCODE = 'datetime_field_overflow';
    END IF;
    -- Once without the lock, which whoever tends the table holds too, and once behind it. Whoever
    -- tends a partition holds nobody up.
    FOR look IN 1..2 LOOP
        PERFORM FROM pg_inherits JOIN pg_class ON oid = inhrelid
            WHERE inhparent = 'outcome'::regclass AND relname IN (name, hour_name(hour_ms));
        IF FOUND THEN
            RETURN;
        END IF;
        LOCK TABLE ONLY outcome IN SHARE UPDATE EXCLUSIVE MODE;
    END LOOP;
    -- A day that an older version has begun goes on by hours.
    PERFORM FROM pg_inherits JOIN pg_class ON oid = inhrelid
        WHERE inhparent = 'outcome'::regclass AND relname ^@ name;
    IF FOUND THEN
        name := hour_name(hour_ms);
        begins_ms := hour_ms;
        width_ms := 3600000;
    END IF;
    -- Rows come once and stay: statistics and the map of visible pages need no more than a few
    -- looks while the day lasts.
    EXECUTE format('CREATE TABLE %I (LIKE outcome INCLUDING CONSTRAINTS) WITH (
        autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_analyze_scale_factor = 0.5)', name);
    EXECUTE format('ALTER TABLE outcome ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
        name, begins_ms, begins_ms + width_ms);
END
$$;

-- Drops up to `most` partitions that end at `before_ms` or earlier, oldest first, with the rights of
-- the schema's owner. To drop one locks out everybody, so this waits but shortly, and what others
-- hold stays for the next time: how many hours were dropped, and how many were left.
CREATE OR REPLACE FUNCTION drop_hours(
    before_ms bigint, most integer, OUT dropped integer, OUT remaining integer
)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT
    SET lock_timeout = '300ms'
AS $$
DECLARE
    names name[];
    hours integer[];
    name  name;
BEGIN
    SELECT array_agg(old.name ORDER BY begins_ms),
        array_agg((ends_ms - begins_ms) / 3600000 ORDER BY begins_ms)
    INTO names, hours
    FROM partitions() AS old WHERE ends_ms <= before_ms;
    dropped := 0;
    remaining := coalesce((SELECT sum(hour) FROM unnest(hours) AS hour), 0);
    IF remaining = 0 THEN
        RETURN;
    END IF;
    BEGIN
        LOCK TABLE ONLY outcome IN ACCESS EXCLUSIVE MODE;
    EXCEPTION WHEN lock_not_available THEN
        RETURN;
    END;
    FOR number IN 1..least(most, cardinality(names)) LOOP
        name := names[number];
        BEGIN
            EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE NOWAIT', name);
            EXECUTE format('DROP TABLE %I', name);
            dropped := dropped + hours[number];
            remaining := remaining - hours[number];
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
    END LOOP;
END
$$;

-- The hour from which on there may be something.
CREATE OR REPLACE FUNCTION first_hour() RETURNS timestamptz
    LANGUAGE sql STABLE
    SET search_path FROM CURRENT
    SET timezone = 'UTC'
RETURN least(
    (SELECT to_timestamp(min(begins_ms) / 1000) FROM partitions()),
    (SELECT date_trunc('hour', to_timestamp(min(from_ms) / 1000)) FROM gap)
);
