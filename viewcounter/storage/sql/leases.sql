-- Leases of pull processes and owners of partitions, on the shard's primary; see storage/leases.py.

-- name: renew_lease (flush)
-- Writes only an unlogged table: no WAL, no wait for a replica, and no lock that a flush could hold. Its own row is not visible
-- in its snapshot, so it is added to the others. `workers` are in an order that is the same on every shard.
-- `needs_watermark`: the watermark is older than `idle_seconds` or of a wrong clock's future, a reader has lately asked for a
-- newer one, or events have stopped coming: a flush notes a time before its last event, so one more makes it complete.
WITH renewed AS (
    INSERT INTO worker (id, started_at, alive_until)
    VALUES (%(worker)s, %(started_at)s, now() + make_interval(secs => %(lease_seconds)s))
    ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until
    RETURNING id, started_at
), living AS (
    SELECT id, started_at FROM worker WHERE alive_until > now() AND id <> %(worker)s
    UNION ALL
    SELECT id, started_at FROM renewed
)
SELECT l.workers, s.partition, s.owner, s.epoch, s.position, s.state,
    extract(epoch FROM now() - s.watermark)::float8 AS watermark_age_seconds,
    s.watermark < now() - make_interval(secs => %(idle_seconds)s) OR s.watermark > now() + interval '1 minute'
        OR (s.watermark < s.updated_at AND s.updated_at < now() - interval '0.5 seconds')
        OR coalesce(r.requested_at > s.watermark AND r.requested_at > now() - make_interval(secs => %(request_seconds)s), false)
        AS needs_watermark
FROM (SELECT array_agg(id ORDER BY started_at, id COLLATE "C") AS workers FROM living) AS l
LEFT JOIN partition_state AS s ON s.state <> 'moved'
LEFT JOIN watermark_request AS r ON r.partition = s.partition
ORDER BY s.partition

-- name: claim_partitions (flush)
-- Partitions whose owner is none or dead. A row that a flush, a mover or maintenance holds is left for the next time.
WITH free AS (
    SELECT s.partition
    FROM partition_state AS s
    JOIN unnest(%(partitions)s::smallint[], %(epochs)s::bigint[]) AS u (partition, epoch)
        ON s.partition = u.partition AND s.epoch = u.epoch
    WHERE s.state NOT IN ('incoming', 'moved')
        AND (s.owner IS NULL OR NOT EXISTS (SELECT FROM worker AS w WHERE w.id = s.owner AND w.alive_until > now()))
    ORDER BY s.partition FOR NO KEY UPDATE OF s SKIP LOCKED
)
UPDATE partition_state AS s SET owner = %(worker)s
FROM free WHERE s.partition = free.partition
RETURNING s.partition

-- name: hand_over_partitions (flush)
-- From their owner, which has stopped draining them, straight to another living process, or to nobody (NULL).
WITH mine AS (
    SELECT s.partition, u.owner
    FROM partition_state AS s
    JOIN unnest(%(partitions)s::smallint[], %(epochs)s::bigint[], %(owners)s::text[]) AS u (partition, epoch, owner)
        ON s.partition = u.partition AND s.epoch = u.epoch
    WHERE s.state NOT IN ('incoming', 'moved') AND s.owner = %(worker)s
        AND (u.owner IS NULL OR EXISTS (SELECT FROM worker AS w WHERE w.id = u.owner AND w.alive_until > now()))
    ORDER BY s.partition FOR NO KEY UPDATE OF s SKIP LOCKED
)
UPDATE partition_state AS s SET owner = mine.owner
FROM mine WHERE s.partition = mine.partition
RETURNING s.partition

-- name: end_lease (flush)
-- The process stops: its partitions are free at once, those in locked rows too, as their owner is no longer alive.
DELETE FROM worker WHERE id = %(worker)s

-- name: remove_expired_leases (flush)
-- Of processes that died. Kept for a while: they tell an operator which processes there were.
DELETE FROM worker WHERE alive_until < now() - interval '1 hour'

-- name: request_watermarks (point)
-- Written by readers; one row a partition, however many wait.
INSERT INTO watermark_request (partition, requested_at)
SELECT partition, now() FROM unnest(%(partitions)s::smallint[]) AS u (partition) ORDER BY partition
ON CONFLICT (partition) DO UPDATE SET requested_at = excluded.requested_at
