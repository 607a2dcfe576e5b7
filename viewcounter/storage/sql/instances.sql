-- What one copy of a shard has applied, to be compared with another's.

-- name: read_applied (point)
-- Positions and the place in the WAL, in one snapshot. A primary without a partition here still has its WAL position.
SELECT w.wal_bytes, s.partition, s.position
FROM (SELECT pg_wal_lsn_diff(
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, '0/0'
)::bigint AS wal_bytes) AS w
LEFT JOIN partition_state AS s ON s.partition = ANY(%(partitions)s)
