-- Losses of one node, run, start and cause are told apart by a number; those of before have 0.
ALTER TABLE loss ADD COLUMN sequence integer NOT NULL DEFAULT 0;
ALTER TABLE loss DROP CONSTRAINT loss_pkey;
ALTER TABLE loss ADD PRIMARY KEY (node_id, run, from_ms, cause, sequence);
