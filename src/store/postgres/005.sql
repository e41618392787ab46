-- The log that was read is known by messages of it, so that one that was cut or begun anew under
-- the same name is told from it. Empty: nothing is known of it yet, as of marks that an older
-- version has stored; they are gone by as they are, and the next batch brings the first.
ALTER TABLE kafka_offset ADD COLUMN anchors text NOT NULL DEFAULT '';

-- In a log that was begun anew other messages have the same offsets; Kafka's time of a message
-- tells them apart. 0: none, or of an older version.
ALTER TABLE dead_letter ADD COLUMN sent_ms bigint NOT NULL DEFAULT 0;
ALTER TABLE dead_letter DROP CONSTRAINT dead_letter_pkey;
ALTER TABLE dead_letter ADD PRIMARY KEY (cluster, topic, partition, record_offset, sent_ms);
