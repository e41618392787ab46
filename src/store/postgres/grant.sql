-- The least rights of the two roles, given anew after each migration. WRITER, READER and SCHEMA
-- stand for their names, quoted. Partitions need none of their own: they are reached through
-- `outcome` alone.

GRANT USAGE ON SCHEMA SCHEMA TO WRITER, READER;
GRANT SELECT ON ALL TABLES IN SCHEMA SCHEMA TO WRITER, READER;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA SCHEMA TO WRITER, READER;
REVOKE EXECUTE ON FUNCTION make_hour(bigint), drop_hours(bigint, integer) FROM READER;

GRANT INSERT ON outcome TO WRITER;
GRANT INSERT, UPDATE ON target, node, state, kafka_offset TO WRITER;
GRANT INSERT, UPDATE, DELETE ON loss TO WRITER;
GRANT INSERT, DELETE ON gap, dead_letter TO WRITER;
