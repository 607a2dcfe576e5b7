-- The state rows of partitions and what a drain must know before it flushes.

-- name: read_states (point)
SELECT partition, epoch, position, watermark, state, admits_since, owner, log_term, log_session, producers, lost,
    clock_timestamp() AS read_at
FROM partition_state WHERE partition = ANY(%(partitions)s)

-- name: read_incoming (maintenance)
-- Copies that are not the owner's yet: they will read the log from their own positions on.
SELECT partition, position FROM partition_state WHERE state = 'incoming'

-- name: accept_arrived (maintenance)
-- The topology says that these came to be owned here. A primary that lost its last commits may have lost that it knew.
WITH arrived AS (
    SELECT s.partition
    FROM partition_state AS s
    JOIN unnest(%(partitions)s::smallint[], %(epochs)s::bigint[]) AS u (partition, epoch)
        ON s.partition = u.partition AND s.epoch = u.epoch
    WHERE s.state = 'incoming'
    ORDER BY s.partition FOR NO KEY UPDATE OF s
)
UPDATE partition_state AS s SET state = 'owned', updated_at = now()
FROM arrived WHERE s.partition = arrived.partition

-- name: read_generations (point)
SELECT partition, generation FROM partition_state WHERE partition = ANY(%(partitions)s) AND state NOT IN ('incoming', 'moved')

-- name: read_event_ids (flush)
-- The ids of some minutes together with the position they belong to, in one snapshot: ids read at another
-- position than the flush's old one would let a duplicate through. Of ids that the reader holds already (those up to
-- `held_through`) only the number is sent.
SELECT s.position, e.minute, e.id_count, e.ids, e.contents
FROM partition_state AS s
LEFT JOIN (
    SELECT e.minute, octet_length(e.contents) / 8 AS id_count,
        CASE WHEN f.is_new THEN e.ids END AS ids, CASE WHEN f.is_new THEN e.contents END AS contents
    FROM unnest(%(minutes)s::timestamptz[], %(held_through)s::text[]) AS asked (minute, held_through)
    JOIN event_ids AS e ON e.partition = %(partition)s AND e.minute = asked.minute
    CROSS JOIN LATERAL (
        SELECT asked.held_through IS NULL OR (split_part(e.position, '-', 1)::numeric, split_part(e.position, '-', 2)::numeric)
            > (split_part(asked.held_through, '-', 1)::numeric, split_part(asked.held_through, '-', 2)::numeric) AS is_new
    ) AS f
) AS e ON true
WHERE s.partition = %(partition)s

-- name: advance_watermarks (flush)
-- Idle partitions: the log held nothing past `position` at `read_at`, so they are complete up to then. As in a flush, never
-- past this server's clock.
WITH idle AS (
    SELECT s.partition
    FROM partition_state AS s
    JOIN unnest(%(tail_partitions)s::smallint[], %(epochs)s::bigint[], %(tails)s::text[]) AS u (partition, epoch, tail)
        ON s.partition = u.partition AND s.epoch = u.epoch AND s.position = u.tail
    WHERE s.state = 'owned' AND (s.watermark < least(%(read_at)s, now()) OR s.watermark > now() + interval '1 minute')
    ORDER BY s.partition FOR NO KEY UPDATE OF s
)
UPDATE partition_state AS s SET watermark = least(%(read_at)s, now())
FROM idle WHERE s.partition = idle.partition

-- name: pass_over_lost (maintenance)
-- An operator has accepted that the log no longer holds what follows these positions. By compare-and-set, as a flush.
WITH lost AS (
    SELECT s.partition, u.floor
    FROM partition_state AS s
    JOIN unnest(%(partitions)s::smallint[], %(epochs)s::bigint[], %(positions)s::text[], %(floors)s::text[])
        AS u (partition, epoch, position, floor)
        ON s.partition = u.partition AND s.epoch = u.epoch AND s.position = u.position
    WHERE s.state NOT IN ('incoming', 'moved')
    ORDER BY s.partition FOR NO KEY UPDATE OF s
)
UPDATE partition_state AS s SET position = lost.floor, updated_at = now()
FROM lost WHERE s.partition = lost.partition
RETURNING s.partition

-- name: lock_partitions_here (maintenance)
-- Of the partitions given, those that are this shard's at the epochs that the topology has them at. They stay so until the
-- transaction ends; others are left out.
SELECT s.partition
FROM partition_state AS s
JOIN unnest(%(partitions)s::smallint[], %(epochs)s::bigint[]) AS u (partition, epoch)
    ON s.partition = u.partition AND s.epoch = u.epoch
WHERE s.state NOT IN ('incoming', 'moved')
ORDER BY s.partition
FOR SHARE OF s

-- name: lock_every_row (maintenance)
-- In the order in which every statement locks several of them.
SELECT FROM partition_state ORDER BY partition FOR NO KEY UPDATE

-- name: adopt_partitions (maintenance)
-- First placement of partitions on a shard. Never touches a row that exists: its position is the truth.
INSERT INTO partition_state (partition, epoch)
SELECT * FROM unnest(%(partitions)s::smallint[], %(epochs)s::bigint[])
ON CONFLICT (partition) DO NOTHING

-- name: raise_term (maintenance)
-- For a shard whose tables were made after its first change of primary.
UPDATE shard_identity SET term = %(term)s WHERE term < %(term)s

-- name: raise_generation (maintenance)
-- A later one than this shard's means that the control database has been rebuilt since.
UPDATE shard_identity SET generation = %(generation)s WHERE generation < %(generation)s

-- name: claim_generation (maintenance)
-- For a control database that is being rebuilt: of two at once, one gets it.
UPDATE shard_identity SET generation = %(generation)s WHERE generation < %(generation)s RETURNING generation

-- name: give_generation_back (maintenance)
-- Nothing was published under it.
UPDATE shard_identity SET generation = %(generation)s - 1 WHERE generation = %(generation)s RETURNING generation

-- name: read_identity (maintenance)
SELECT pg_is_in_recovery() AS is_standby, term, generation, cluster_id::text AS cluster_id FROM shard_identity

-- name: read_placement (maintenance)
-- All of them: also those of copies, and of partitions that have moved away.
SELECT partition, epoch, state, move_token FROM partition_state ORDER BY partition

-- name: join_cluster (maintenance)
-- A shard joins one cluster in its life.
UPDATE shard_identity SET cluster_id = %(cluster_id)s WHERE cluster_id IS NULL

-- name: has_identity (maintenance)
SELECT to_regclass('shard_identity') IS NOT NULL AS has_identity

-- name: read_cluster_id (maintenance)
SELECT cluster_id::text AS cluster_id FROM shard_identity

-- name: read_schema_version (point)
SELECT name FROM django_migrations WHERE app = 'storage' ORDER BY id DESC LIMIT 1
