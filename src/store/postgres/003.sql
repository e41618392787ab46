-- What people and Grafana look at.

-- Every check as a plain row.
CREATE VIEW checks AS
SELECT to_timestamp(due_ms / 1000.0) AS due,
    target.name AS target,
    node.name AS node,
    outcome.run,
    lag_us / 1000.0::float8 AS lag_ms,
    outcome.interval_ms,
    verdict,
    cause,
    responded,
    status,
    status_ok,
    match_ok,
    dns_us / 1000.0::float8 AS dns_ms,
    connect_us / 1000.0::float8 AS connect_ms,
    tls_us / 1000.0::float8 AS tls_ms,
    first_byte_us / 1000.0::float8 AS first_byte_ms,
    transfer_us / 1000.0::float8 AS transfer_ms,
    total_us / 1000.0::float8 AS total_ms,
    address,
    http,
    redirects,
    bytes,
    attempts,
    matched,
    excerpt,
    error,
    to_timestamp(cert_expires_s) AS cert_expires,
    to_timestamp(chain_expires_s) AS chain_expires,
    reused,
    hops
FROM outcome
JOIN target ON target.id = target_id
JOIN node ON node.id = node_id;

-- A time in milliseconds since 1970; what lies beyond all checks is cut.
CREATE FUNCTION in_ms(moment timestamptz) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (extract(epoch FROM
    least(greatest(moment, '1970-01-01 00:00Z'), '9999-12-31 00:00Z')) * 1000)::bigint;

-- How many of a gap's slots were due before a time: those k with from + k * interval < time.
CREATE FUNCTION slots_before(from_ms bigint, interval_ms bigint, count bigint, time_ms bigint)
    RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN time_ms <= from_ms THEN 0
    WHEN interval_ms > 0 THEN least((time_ms - 1 - from_ms) / interval_ms + 1, count)
    ELSE count END;

-- The figures of every target over [starting, ending), in windows of `step` (counted from 1970,
-- the first and the last cut; null: one window), for each node and, where node is null, for all of
-- them together. A target or node is in a window if it has a check or a gap there. How it stands
-- is how it stands now, whatever the window.
CREATE FUNCTION report(starting timestamptz, ending timestamptz, step interval DEFAULT NULL)
RETURNS TABLE (
    window_start timestamptz,
    window_end   timestamptz,
    target       text,
    node         text,
    checks       bigint,
    unknown      bigint,
    up           bigint,
    slow         bigint,
    down         bigint,
    responded    bigint,
    no_response  bigint,
    status_ok    bigint,
    match_ok     bigint,
    missed       bigint,
    uptime       double precision,
    coverage     double precision,
    mean_ms      double precision,
    min_ms       double precision,
    max_ms       double precision,
    stdev_ms     double precision,
    median_ms    double precision,
    p95_ms       double precision,
    p99_ms       double precision,
    last_verdict text,
    last_due     timestamptz,
    since        timestamptz
)
    LANGUAGE plpgsql STABLE
    SET search_path FROM CURRENT
    SET plan_cache_mode = force_custom_plan  -- so that only the hours in question are looked at
    SET jit = off
    SET work_mem = '64MB'
    SET cpu_operator_cost = 0.01             -- to sort costs more than to hash: groups are few
AS $$
#variable_conflict use_column
DECLARE
    start_ms  CONSTANT bigint := in_ms(starting);
    end_ms    CONSTANT bigint := in_ms(ending);
    clock_ms  CONSTANT bigint := in_ms(now());
    -- Window number w begins w widths after the origin.
    origin_ms CONSTANT bigint := CASE WHEN step IS NULL THEN start_ms ELSE 0 END;
    width_ms  CONSTANT bigint :=
        greatest(coalesce((extract(epoch FROM step) * 1000)::bigint, end_ms - start_ms), 1);
BEGIN
RETURN QUERY
WITH
-- The checks of each window, target and node; times are of those that responded. Squares beyond
-- 2^63 are rare, and need wider numbers.
part AS MATERIALIZED (
    SELECT (due_ms - origin_ms) / width_ms AS w, target_id, node_id,
        count(*) AS checks,
        count(*) FILTER (WHERE verdict = 'unknown') AS unknown,
        count(*) FILTER (WHERE verdict = 'slow') AS slow,
        count(*) FILTER (WHERE verdict = 'down') AS down,
        count(*) FILTER (WHERE timed) AS responded,
        count(*) FILTER (WHERE timed AND status_ok) AS status_ok,
        count(*) FILTER (WHERE timed AND match_ok) AS match_ok,
        coalesce(sum(interval_ms) FILTER (WHERE verdict <> 'unknown'), 0) AS known_ms,
        min(run) FILTER (WHERE verdict <> 'unknown') AS first_run,
        max(run) FILTER (WHERE verdict <> 'unknown') AS last_run,
        sum(total_us) FILTER (WHERE timed) AS sum_us,
        coalesce(sum(total_us * total_us) FILTER (WHERE timed AND total_us < 3000000000), 0)
            + coalesce(sum(total_us::numeric * total_us)
                FILTER (WHERE timed AND total_us >= 3000000000), 0) AS squares,
        min(total_us) FILTER (WHERE timed) AS min_us,
        max(total_us) FILTER (WHERE timed) AS max_us
    FROM (
        SELECT *, responded AND verdict <> 'unknown' AS timed FROM outcome
        WHERE due_ms >= start_ms AND due_ms < end_ms
    ) AS checked
    GROUP BY 1, 2, 3
),
-- Their times, counted by buckets.
hist AS MATERIALIZED (
    SELECT (due_ms - origin_ms) / width_ms AS w, target_id, node_id,
        width_bucket(total_us, bounds()) AS bucket, count(*)::integer AS checks
    FROM outcome
    WHERE due_ms >= start_ms AND due_ms < end_ms AND responded AND verdict <> 'unknown'
    GROUP BY 1, 2, 3, 4
),
-- A slot that several runs have checked is known once. Keys are unique, so that there is none
-- where a window has one run alone.
several AS MATERIALIZED (
    SELECT w, target_id, node_id FROM part WHERE first_run <> last_run
),
again AS (
    SELECT w, target_id, node_id, sum(interval_ms) AS again_ms
    FROM (
        SELECT w, target_id, node_id, interval_ms,
            row_number() OVER (PARTITION BY target_id, node_id, due_ms ORDER BY run) AS nth
        FROM several JOIN outcome USING (target_id, node_id)
        WHERE EXISTS (SELECT FROM several)  -- else nothing is read
            AND due_ms >= start_ms AND due_ms < end_ms
            AND (due_ms - origin_ms) / width_ms = w AND verdict <> 'unknown'
    ) AS known
    WHERE nth > 1
    GROUP BY 1, 2, 3
),
-- The slots of gaps by the windows where they were due: those before a window's end, less those
-- before its start.
missing AS (
    SELECT w, target_id, node_id, sum(slots_before(from_ms, interval_ms, count,
            least(origin_ms + (w + 1) * width_ms, end_ms))
        - slots_before(from_ms, interval_ms, count,
            greatest(origin_ms + w * width_ms, start_ms))) AS missed
    FROM gap, generate_series(
        (greatest(from_ms, start_ms) - origin_ms) / width_ms,
        (least(from_ms + (count - 1)::numeric * greatest(interval_ms, 0), end_ms - 1)::bigint
            - origin_ms) / width_ms
    ) AS w
    WHERE from_ms < end_ms AND to_ms >= start_ms
    GROUP BY 1, 2, 3
),
-- For each window and target its nodes, and 0 for all of them.
line AS (
    SELECT w, target_id, coalesce(node_id, 0) AS node_id,
        sum(checks) AS checks, sum(unknown) AS unknown, sum(slow) AS slow, sum(down) AS down,
        sum(responded) AS responded, sum(status_ok) AS status_ok, sum(match_ok) AS match_ok,
        sum(missed) AS missed, sum(known_ms) AS known_ms, sum(sum_us) AS sum_us,
        sum(squares) AS squares, min(min_us) AS min_us, max(max_us) AS max_us
    FROM (
        SELECT w, target_id, node_id, checks, unknown, slow, down, responded, status_ok, match_ok,
            0 AS missed, known_ms, sum_us, squares, min_us, max_us
        FROM part
        UNION ALL
        SELECT w, target_id, node_id, 0, 0, 0, 0, 0, 0, 0, 0, -again_ms, NULL, NULL, NULL, NULL
        FROM again
        UNION ALL
        SELECT w, target_id, node_id, 0, 0, 0, 0, 0, 0, 0, missed, 0, NULL, NULL, NULL, NULL
        FROM missing WHERE missed > 0
    ) AS parts
    GROUP BY GROUPING SETS ((w, target_id, node_id), (w, target_id))
),
-- The first bucket that reaches the rank: upto >= ceil(part * whole / 100).
rank AS (
    SELECT w, target_id, node_id,
        min(bucket) FILTER (WHERE upto * 100 >= whole * 50) AS median,
        min(bucket) FILTER (WHERE upto * 100 >= whole * 95) AS p95,
        min(bucket) FILTER (WHERE upto * 100 >= whole * 99) AS p99
    FROM (
        SELECT w, target_id, node_id, bucket,
            sum(checks) OVER (PARTITION BY w, target_id, node_id ORDER BY bucket) AS upto,
            sum(checks) OVER (PARTITION BY w, target_id, node_id) AS whole
        FROM (
            SELECT w, target_id, coalesce(node_id, 0) AS node_id, bucket,
                sum(checks)::integer AS checks
            FROM hist
            GROUP BY GROUPING SETS ((w, target_id, node_id, bucket), (w, target_id, bucket))
        ) AS counts
    ) AS counted
    GROUP BY 1, 2, 3
),
-- The geometric middle of each bucket, in microseconds.
middle AS MATERIALIZED (
    SELECT number - 1 AS bucket, sqrt(coalesce(lag(bound) OVER ascending, 0)::float8
        * coalesce(bound - 1, lag(bound) OVER ascending)::float8) AS us
    FROM unnest(bounds() || NULL::bigint) WITH ORDINALITY AS all_bounds (bound, number)
    WINDOW ascending AS (ORDER BY number)
),
-- How each node sees each target now: unknown, once its newest check is too old.
seen AS MATERIALIZED (
    SELECT target_id, node_id, node.name, interval_ms, first_due_ms, state.last_due_ms,
        CASE WHEN stale THEN 'unknown' ELSE verdict END AS verdict,
        CASE WHEN stale THEN state.last_due_ms ELSE since_ms END AS since_ms
    FROM state JOIN node ON node.id = node_id,
        LATERAL (SELECT clock_ms - state.last_due_ms > greatest(3 * interval_ms, 300000))
            AS aged (stale)
),
-- Down if at least half of those that know say so; it stands so since enough of them have agreed.
-- Of those that say up, the newest has the word (slow is up).
standing AS (
    SELECT target_id, node_id, last_due_ms,
        CASE WHEN down > 0 AND 2 * down >= up + down THEN 'down' WHEN up > 0 THEN newest_up
            ELSE 'unknown' END AS verdict,
        CASE WHEN down > 0 AND 2 * down >= up + down THEN since_down[(up + down + 1) / 2]
            WHEN up > 0 THEN since_up[(up + down) / 2 + 1]
            ELSE since_unknown END AS since_ms
    FROM (
        SELECT target_id, coalesce(node_id, 0) AS node_id, max(last_due_ms) AS last_due_ms,
            count(*) FILTER (WHERE verdict IN ('up', 'slow')) AS up,
            count(*) FILTER (WHERE verdict = 'down') AS down,
            (array_agg(verdict ORDER BY last_due_ms DESC, name COLLATE "C" DESC)
                FILTER (WHERE verdict IN ('up', 'slow')))[1] AS newest_up,
            array_agg(since_ms ORDER BY since_ms) FILTER (WHERE verdict IN ('up', 'slow'))
                AS since_up,
            array_agg(since_ms ORDER BY since_ms) FILTER (WHERE verdict = 'down') AS since_down,
            max(since_ms) FILTER (WHERE verdict = 'unknown') AS since_unknown
        FROM seen
        GROUP BY GROUPING SETS ((target_id, node_id), (target_id))
    ) AS counted
),
-- The time that could be known: over the nodes, from the window's start or the first check ever to
-- the window's end or now. Nodes that were silent count too.
whole AS (
    SELECT w, target_id, coalesce(node_id, 0) AS node_id, max(interval_ms) AS interval_ms,
        sum(greatest(least(origin_ms + (w + 1) * width_ms, end_ms, clock_ms)
            - greatest(origin_ms + w * width_ms, start_ms, first_due_ms), 0)) AS whole_ms
    FROM (SELECT w, target_id FROM line WHERE node_id = 0) AS windows JOIN seen USING (target_id)
    GROUP BY GROUPING SETS ((w, target_id, node_id), (w, target_id))
)
SELECT to_timestamp(greatest(origin_ms + w * width_ms, start_ms) / 1000.0),
    to_timestamp(least(origin_ms + (w + 1) * width_ms, end_ms) / 1000.0),
    target.name,
    node.name,
    checks::bigint,
    unknown::bigint,
    (checks - unknown - down)::bigint,
    slow::bigint,
    down::bigint,
    responded::bigint,
    (checks - unknown - responded)::bigint,
    status_ok::bigint,
    match_ok::bigint,
    missed::bigint,
    (checks - unknown - down)::float8 / nullif(checks - unknown, 0)::float8,
    CASE WHEN whole_ms >= whole.interval_ms AND whole_ms > 0
        THEN least(known_ms::float8 / whole_ms::float8, 1) END,
    sum_us::float8 / nullif(responded, 0)::float8 / 1000,
    min_us::float8 / 1000,
    max_us::float8 / 1000,
    CASE WHEN responded >= 2 THEN sqrt(
        (responded * squares - sum_us * sum_us)::float8 / (responded * (responded - 1))::float8
    ) / 1000 END,
    least(greatest(of_median.us, min_us), max_us) / 1000,
    least(greatest(of_p95.us, min_us), max_us) / 1000,
    least(greatest(of_p99.us, min_us), max_us) / 1000,
    standing.verdict,
    to_timestamp(standing.last_due_ms / 1000.0),
    to_timestamp(standing.since_ms / 1000.0)
FROM line
JOIN target ON target.id = line.target_id
LEFT JOIN node ON node.id = line.node_id
LEFT JOIN rank USING (w, target_id, node_id)
LEFT JOIN middle AS of_median ON of_median.bucket = median
LEFT JOIN middle AS of_p95 ON of_p95.bucket = p95
LEFT JOIN middle AS of_p99 ON of_p99.bucket = p99
LEFT JOIN whole USING (w, target_id, node_id)
LEFT JOIN standing USING (target_id, node_id);
END
$$;

-- The hour from which on there may be something.
CREATE FUNCTION first_hour() RETURNS timestamptz
    LANGUAGE sql STABLE
    SET search_path FROM CURRENT
    SET timezone = 'UTC'
RETURN least(
    (SELECT to_timestamp(min(right(relname, 10)), 'YYYYMMDDHH24')
        FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'outcome'::regclass),
    (SELECT date_trunc('hour', to_timestamp(min(from_ms) / 1000)) FROM gap)
);

-- The figures of each hour and day (UTC). Only those are counted for which a query asks by
-- window_start; one that asks for none counts everything there is.
CREATE VIEW report_hour AS
SELECT hour AS window_start, hour + interval '1 hour' AS window_end, target, node, checks,
    unknown, up, slow, down, responded, no_response, status_ok, match_ok, missed, uptime, coverage,
    mean_ms, min_ms, max_ms, stdev_ms, median_ms, p95_ms, p99_ms, last_verdict, last_due, since
FROM generate_series(first_hour(), now() + interval '1 hour', interval '1 hour') AS hour,
    report(hour, hour + interval '1 hour') AS figures;

CREATE VIEW report_day AS
SELECT day AS window_start, day + interval '24 hours' AS window_end, target, node, checks,
    unknown, up, slow, down, responded, no_response, status_ok, match_ok, missed, uptime, coverage,
    mean_ms, min_ms, max_ms, stdev_ms, median_ms, p95_ms, p99_ms, last_verdict, last_due, since
FROM generate_series(date_trunc('day', first_hour(), 'UTC'), now() + interval '1 hour',
        interval '24 hours') AS day,
    report(day, day + interval '24 hours') AS figures;

-- The last 24 hours.
CREATE VIEW report_now AS
SELECT * FROM report(now() - interval '24 hours', now());
