-- Migration 2: the hops of redirects, and the run before of each node, its spool and its clock.

ALTER TABLE outcome ADD COLUMN reused INTEGER;
ALTER TABLE outcome ADD COLUMN hops TEXT;               -- a JSON array of objects

ALTER TABLE node ADD COLUMN previous_run INTEGER;
ALTER TABLE node ADD COLUMN last_due_ms INTEGER;        -- of the run before
ALTER TABLE node ADD COLUMN spool_count INTEGER;
ALTER TABLE node ADD COLUMN spool_oldest_ms INTEGER;
ALTER TABLE node ADD COLUMN clock_synced INTEGER;
