-- Migration 3: losses of one node, run, start and cause are told apart by a number; earlier losses have 0.
CREATE TABLE loss_by_sequence (
    node_id  INTEGER NOT NULL REFERENCES node (id),
    run      INTEGER NOT NULL,
    from_ms  INTEGER NOT NULL,
    cause    TEXT NOT NULL,
    sequence INTEGER NOT NULL DEFAULT 0,
    to_ms    INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    PRIMARY KEY (node_id, run, from_ms, cause, sequence)
) STRICT, WITHOUT ROWID;
INSERT INTO loss_by_sequence (node_id, run, from_ms, cause, to_ms, count)
    SELECT node_id, run, from_ms, cause, to_ms, count FROM loss;
DROP TABLE loss;
ALTER TABLE loss_by_sequence RENAME TO loss;
