-- The clock that ages and due times are judged by, in milliseconds since 1970: the database's, as
-- all writers and readers share it.
CREATE FUNCTION clock_ms() RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN (extract(epoch FROM clock_timestamp()) * 1000)::bigint;

-- Every check as a plain row. Of a time asked for by `due_ms`, in numbers, only the partitions of
-- those hours are planned and locked; `due` is for people, and prunes nothing.
CREATE OR REPLACE VIEW checks AS
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
    hops,
    due_ms
FROM outcome
JOIN target ON target.id = target_id
JOIN node ON node.id = node_id;

-- The checks due in [since, until), of all targets and nodes or of one, for moments however they are
-- reckoned: `now() - interval '1 h'` too. Planned when the moments are known, so that only their
-- hours are looked at. A join with 2184 partitions takes seconds to plan, and one with what was read
-- of them (OFFSET 0 keeps it apart) a tenth of that.
CREATE FUNCTION checks_between(
    since timestamptz, until timestamptz, target text DEFAULT NULL, node text DEFAULT NULL
)
    RETURNS SETOF checks
    LANGUAGE plpgsql STABLE
    SET search_path FROM CURRENT
    SET plan_cache_mode = force_custom_plan
    SET jit = off
AS $$
DECLARE
    start_ms  CONSTANT bigint := in_ms(since);
    end_ms    CONSTANT bigint := in_ms(until);
    of_target CONSTANT integer := (SELECT id FROM target AS t WHERE t.name = checks_between.target);
    of_node   CONSTANT integer := (SELECT id FROM node AS n WHERE n.name = checks_between.node);
BEGIN
    RETURN QUERY
    SELECT to_timestamp(c.due_ms / 1000.0), t.name, n.name, c.run, c.lag_us / 1000.0::float8,
        c.interval_ms, c.verdict, c.cause, c.responded, c.status, c.status_ok, c.match_ok,
        c.dns_us / 1000.0::float8, c.connect_us / 1000.0::float8, c.tls_us / 1000.0::float8,
        c.first_byte_us / 1000.0::float8, c.transfer_us / 1000.0::float8,
        c.total_us / 1000.0::float8, c.address, c.http, c.redirects, c.bytes, c.attempts,
        c.matched, c.excerpt, c.error, to_timestamp(c.cert_expires_s),
        to_timestamp(c.chain_expires_s), c.reused, c.hops, c.due_ms
    FROM (
        SELECT * FROM outcome AS o
        WHERE o.due_ms >= start_ms AND o.due_ms < end_ms
            AND (checks_between.target IS NULL OR o.target_id = of_target)
            AND (checks_between.node IS NULL OR o.node_id = of_node)
        OFFSET 0
    ) AS c
    JOIN target AS t ON t.id = c.target_id
    JOIN node AS n ON n.id = c.node_id;
END
$$;

-- The figures join no partition either: the one join of `report` with all of them goes the same way.
DO $do$
DECLARE
    before CONSTANT text :=
        pg_get_functiondef('report(timestamptz, timestamptz, interval)'::regprocedure);
    after  CONSTANT text := replace(before,
'        FROM several JOIN outcome USING (target_id, node_id)
        WHERE EXISTS (SELECT FROM several)  -- else nothing is read
            AND due_ms >= start_ms AND due_ms < end_ms
            AND (due_ms - origin_ms) / width_ms = w AND verdict <> ''unknown''
',
'        FROM several JOIN (
            SELECT * FROM outcome
            WHERE EXISTS (SELECT FROM several)  -- else nothing is read
                AND due_ms >= start_ms AND due_ms < end_ms AND verdict <> ''unknown''
            OFFSET 0
        ) AS known USING (target_id, node_id)
        WHERE (due_ms - origin_ms) / width_ms = w
');
BEGIN
    IF after = before THEN
        RAISE EXCEPTION 'the join in report is not where it was';
    END IF;
    EXECUTE after;
END
$do$;
