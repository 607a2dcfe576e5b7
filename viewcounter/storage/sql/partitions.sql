-- The state rows of partitions and what a drain must know before it flushes.

-- name: read_state (point)
SELECT epoch, position, watermark, state, admits_since FROM partition_state WHERE partition = %(partition)s

-- name: read_states (point)
SELECT partition, epoch, position, watermark, state FROM partition_state WHERE partition = ANY(%(partitions)s)

-- name: read_event_ids (flush)
-- The ids of some minutes together with the position they belong to, in one snapshot: ids read at another
-- position than the flush's old one would let a duplicate through.
SELECT s.position, e.minute, e.ids, e.contents
FROM partition_state AS s
LEFT JOIN event_ids AS e ON e.partition = s.partition AND e.minute = ANY(%(minutes)s::timestamptz[])
WHERE s.partition = %(partition)s

-- name: advance_watermarks (flush)
-- Idle partitions: the log held nothing past `position` at `read_at`, so they are complete up to then.
UPDATE partition_state AS s SET watermark = %(read_at)s
FROM unnest(%(tail_partitions)s::smallint[], %(tails)s::text[]) AS u (partition, tail)
WHERE s.partition = u.partition AND s.position = u.tail AND s.watermark < %(read_at)s

-- name: adopt_partitions (maintenance)
-- First placement of partitions on a shard. Never touches a row that exists: its position is the truth.
INSERT INTO partition_state (partition, epoch)
SELECT * FROM unnest(%(partitions)s::smallint[], %(epochs)s::bigint[])
ON CONFLICT (partition) DO NOTHING

-- name: read_schema_version (point)
SELECT name FROM django_migrations WHERE app = 'storage' ORDER BY id DESC LIMIT 1
