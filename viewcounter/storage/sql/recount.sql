-- Replacing aggregates by what raw events say. Every transaction takes the partition's row first, so it is ordered with
-- flushes and rollups; see storage/recount.py.

-- name: lock_partition (maintenance)
SELECT epoch, state, maintenance_held_until > now() AS is_being_moved
FROM partition_state WHERE partition = %(partition)s FOR UPDATE

-- name: read_owner (maintenance)
SELECT epoch, state FROM partition_state WHERE partition = %(partition)s

-- name: set_minutes (maintenance)
INSERT INTO event_minute (partition, video_id, event_type_id, start, count, sum, min, max)
SELECT %(partition)s, %(video_id)s, u.*
FROM unnest(
    %(type_ids)s::smallint[], %(starts)s::timestamptz[],
    %(counts)s::bigint[], %(sums)s::bigint[], %(mins)s::bigint[], %(maxs)s::bigint[]
) AS u
ON CONFLICT (partition, video_id, event_type_id, start) DO UPDATE SET
    count = excluded.count, sum = excluded.sum, min = excluded.min, max = excluded.max

-- name: delete_minutes (maintenance)
DELETE FROM event_minute AS m
USING unnest(%(type_ids)s::smallint[], %(starts)s::timestamptz[]) AS u (type_id, start)
WHERE m.partition = %(partition)s AND m.video_id = %(video_id)s AND m.event_type_id = u.type_id AND m.start = u.start

-- name: ensure_video (maintenance)
INSERT INTO video (video_id, partition) VALUES (%(video_id)s, %(partition)s) ON CONFLICT (video_id) DO NOTHING

-- name: set_totals (maintenance)
INSERT INTO event_total (partition, video_id, event_type_id, count, sum, min, max)
SELECT %(partition)s, %(video_id)s, u.*
FROM unnest(
    %(type_ids)s::smallint[], %(counts)s::bigint[], %(sums)s::bigint[], %(mins)s::bigint[], %(maxs)s::bigint[]
) AS u
ON CONFLICT (partition, video_id, event_type_id) DO UPDATE SET
    count = excluded.count, sum = excluded.sum, min = excluded.min, max = excluded.max

-- name: delete_totals (maintenance)
DELETE FROM event_total
WHERE partition = %(partition)s AND video_id = %(video_id)s AND event_type_id = ANY (%(type_ids)s::smallint[])

-- name: mark_buckets (maintenance)
-- Rolled hours and days to be made anew. A mark more than needed costs one rollup.
INSERT INTO rollup_dirty (partition, tier, video_id, event_type_id, start)
SELECT DISTINCT %(partition)s::smallint, tier.name, %(video_id)s, u.type_id, date_trunc(tier.name, u.start, 'UTC')
FROM unnest(%(type_ids)s::smallint[], %(starts)s::timestamptz[]) AS u (type_id, start)
CROSS JOIN (VALUES ('hour', interval '1 hour'), ('day', interval '24 hours')) AS tier (name, width)
WHERE date_trunc(tier.name, u.start, 'UTC') + tier.width <= %(rolled_through)s
ON CONFLICT DO NOTHING

-- name: renew_generation (maintenance)
-- What caches keep of closed windows of this partition is no longer valid.
UPDATE partition_state SET generation = DEFAULT WHERE partition = %(partition)s

-- name: insert_correction (maintenance)
INSERT INTO correction (partition, job_id, actor, tier, video_id, event_type_id, start, before, after)
VALUES (
    %(partition)s, %(job_id)s, %(actor)s, %(tier)s, %(video_id)s, %(event_type_id)s, %(start)s,
    %(before)s::bigint[], %(after)s::bigint[]
)

-- name: read_corrections (maintenance)
-- The first corrections of a job; each row says how many there are of its tier.
SELECT *
FROM (
    SELECT partition, tier, video_id, event_type_id, start, before, after, created_at, id,
        count(*) OVER (PARTITION BY tier) AS tier_count,
        row_number() OVER (PARTITION BY tier ORDER BY id) AS place
    FROM correction WHERE job_id = %(job_id)s AND partition = %(partition)s
) AS numbered
WHERE place <= %(limit)s
ORDER BY id

-- name: read_term (maintenance)
SELECT term FROM shard_identity
