-- Which pull process drains which partition. It only saves work: flushes decide by position, epoch and state. See
-- storage/leases.py.

-- Id of the pull process that drains the partition; NULL: none. It may name a process that has ended.
ALTER TABLE partition_state ADD COLUMN owner text;

-- The leases of pull processes, renewed several times in two seconds. Unlogged, so that a renewal writes no WAL and waits for no
-- replica: after a crash or a failover the table is empty, and leases are taken again. It cannot be read on a standby.
-- `started_at` is of the process's clock and orders processes alike on all shards.
CREATE UNLOGGED TABLE worker (
    id text PRIMARY KEY,
    started_at timestamptz NOT NULL,
    alive_until timestamptz NOT NULL
);

-- The last time that a reader waited for a partition without new events to become complete. Unlogged as well.
CREATE UNLOGGED TABLE watermark_request (
    partition smallint PRIMARY KEY,
    requested_at timestamptz NOT NULL
);
