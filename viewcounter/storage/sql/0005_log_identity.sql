-- Positions carry no time: what was derived from it has a time of its own, by this server's clock.

-- When the ids were stored; of pieces put together, when the last one was. Ids stored before this release count as stored
-- now, so they are kept a while longer.
ALTER TABLE event_ids ADD COLUMN stored_at timestamptz NOT NULL DEFAULT now();

-- Positions that every copy of a partition had applied at `marked_at`: the log is trimmed below those of a safety time ago.
-- Unlogged: after a crash or a failover the safety time begins anew.
CREATE UNLOGGED TABLE trim_mark (
    partition smallint NOT NULL,
    marked_at timestamptz NOT NULL,
    position text NOT NULL,
    PRIMARY KEY (partition, marked_at)
);
