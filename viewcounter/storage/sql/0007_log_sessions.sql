-- Of which log, and of which run of its server, a partition's row takes entries. See storage/log_sessions.py.
-- `log_term`: no log of a lower term is read or written any more. `log_session`: a flush whose batch was read in another
-- session changes nothing.
ALTER TABLE partition_state
    ADD COLUMN log_term bigint NOT NULL DEFAULT 0,
    ADD COLUMN log_session text NOT NULL DEFAULT '';

-- Entries between the positions `after` and `through` that the log acknowledged, perhaps, and this shard never got. Written in
-- the transaction that moves the partition's position past them. A row that was closed has been looked at, or its entries
-- have come again.
CREATE TABLE log_loss (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partition smallint NOT NULL,
    after_position text NOT NULL,
    through_position text NOT NULL,
    reason text NOT NULL CHECK (reason IN ('replaced', 'trimmed', 'missing')),
    detail text NOT NULL DEFAULT '',
    found_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    closed_by text NOT NULL DEFAULT '',
    close_reason text NOT NULL DEFAULT ''
);
CREATE INDEX log_loss_open ON log_loss (partition) WHERE closed_at IS NULL;
