-- Hours from minutes, days from hours. Every transaction begins with `lock_rollup`, which orders it with the flushes and
-- recounts of the partition; see storage/rollup.py.

-- name: read_rollup_backlog (report)
SELECT s.partition, s.state, least(s.watermark, now()) AS watermark, s.rolled_through, s.maintenance_held_until > now() AS is_being_moved,
    (SELECT count(*) FROM rollup_dirty AS d WHERE d.partition = s.partition AND d.tier = 'hour') AS dirty_hours,
    (SELECT count(*) FROM rollup_dirty AS d WHERE d.partition = s.partition AND d.tier = 'day') AS dirty_days
FROM partition_state AS s
WHERE s.partition = ANY (%(partitions)s::smallint[])

-- name: lock_rollup (maintenance)
-- A watermark ahead of this server's clock was made by a clock that was wrong: nothing is rolled up or deleted by it.
SELECT epoch, state, least(watermark, now()) AS watermark, rolled_through, admits_since, minutes_since, hours_since,
    maintenance_held_until > now() AS is_being_moved
FROM partition_state WHERE partition = %(partition)s FOR UPDATE

-- name: find_next_hour (maintenance)
-- The first hour with events. The ledger has a line for each hour that a flush has written minutes of, so hours and
-- years without any cost one look at its index.
SELECT hour FROM ledger WHERE partition = %(partition)s AND hour >= %(first)s ORDER BY hour LIMIT 1

-- name: delete_hour (maintenance)
DELETE FROM event_hour WHERE partition = %(partition)s AND start = %(start)s

-- name: insert_hour (maintenance)
INSERT INTO event_hour (partition, video_id, event_type_id, start, count, sum, min, max)
SELECT partition, video_id, event_type_id, %(start)s, sum(count), sum(sum), min(min), max(max)
FROM event_minute
WHERE partition = %(partition)s AND start >= %(start)s AND start < %(start)s + interval '1 hour'
GROUP BY partition, video_id, event_type_id

-- name: delete_day (maintenance)
DELETE FROM event_day WHERE partition = %(partition)s AND start = %(start)s

-- name: insert_day (maintenance)
INSERT INTO event_day (partition, video_id, event_type_id, start, count, sum, min, max)
SELECT partition, video_id, event_type_id, %(start)s, sum(count), sum(sum), min(min), max(max)
FROM event_hour
WHERE partition = %(partition)s AND start >= %(start)s AND start < %(start)s + interval '24 hours'
GROUP BY partition, video_id, event_type_id

-- name: mark_day_of_dirty_hours (maintenance)
-- A day that is closed while hours of it wait to be replaced is itself not yet right for their videos.
INSERT INTO rollup_dirty (partition, tier, video_id, event_type_id, start)
SELECT DISTINCT partition, 'day', video_id, event_type_id, %(start)s::timestamptz
FROM rollup_dirty
WHERE partition = %(partition)s AND tier = 'hour' AND start >= %(start)s AND start < %(start)s + interval '24 hours'
ON CONFLICT DO NOTHING

-- name: set_rolled_through (maintenance)
UPDATE partition_state SET rolled_through = %(rolled_through)s WHERE partition = %(partition)s

-- name: find_dirty_hours (maintenance)
SELECT video_id, event_type_id, start FROM rollup_dirty
WHERE partition = %(partition)s AND tier = 'hour'
ORDER BY video_id, event_type_id, start LIMIT %(limit)s

-- name: find_dirty_days (maintenance)
-- Those whose hours are all right again.
SELECT d.video_id, d.event_type_id, d.start FROM rollup_dirty AS d
WHERE d.partition = %(partition)s AND d.tier = 'day' AND NOT EXISTS (
    SELECT FROM rollup_dirty AS h
    WHERE h.partition = d.partition AND h.tier = 'hour' AND h.video_id = d.video_id
        AND h.event_type_id = d.event_type_id AND h.start >= d.start AND h.start < d.start + interval '24 hours'
)
ORDER BY d.video_id, d.event_type_id, d.start LIMIT %(limit)s

-- name: delete_dirty_hours (maintenance)
DELETE FROM event_hour AS e
USING unnest(%(video_ids)s::text[], %(type_ids)s::smallint[], %(starts)s::timestamptz[]) AS u (video_id, type_id, start)
WHERE e.partition = %(partition)s AND e.video_id = u.video_id AND e.event_type_id = u.type_id AND e.start = u.start

-- name: insert_dirty_hours (maintenance)
INSERT INTO event_hour (partition, video_id, event_type_id, start, count, sum, min, max)
SELECT %(partition)s, u.video_id, u.type_id, u.start, m.count, m.sum, m.min, m.max
FROM unnest(%(video_ids)s::text[], %(type_ids)s::smallint[], %(starts)s::timestamptz[]) AS u (video_id, type_id, start)
CROSS JOIN LATERAL (
    SELECT sum(e.count) AS count, sum(e.sum) AS sum, min(e.min) AS min, max(e.max) AS max
    FROM event_minute AS e
    WHERE e.partition = %(partition)s AND e.video_id = u.video_id AND e.event_type_id = u.type_id
        AND e.start >= u.start AND e.start < u.start + interval '1 hour'
) AS m
WHERE m.count IS NOT NULL

-- name: mark_days_of_hours (maintenance)
-- The days above the hours that were just replaced, where they are rolled.
INSERT INTO rollup_dirty (partition, tier, video_id, event_type_id, start)
SELECT DISTINCT %(partition)s::smallint, 'day', u.video_id, u.type_id, date_trunc('day', u.start, 'UTC')
FROM unnest(%(video_ids)s::text[], %(type_ids)s::smallint[], %(starts)s::timestamptz[]) AS u (video_id, type_id, start)
WHERE date_trunc('day', u.start, 'UTC') + interval '24 hours' <= %(rolled_through)s
ON CONFLICT DO NOTHING

-- name: delete_dirty_days (maintenance)
DELETE FROM event_day AS e
USING unnest(%(video_ids)s::text[], %(type_ids)s::smallint[], %(starts)s::timestamptz[]) AS u (video_id, type_id, start)
WHERE e.partition = %(partition)s AND e.video_id = u.video_id AND e.event_type_id = u.type_id AND e.start = u.start

-- name: insert_dirty_days (maintenance)
INSERT INTO event_day (partition, video_id, event_type_id, start, count, sum, min, max)
SELECT %(partition)s, u.video_id, u.type_id, u.start, m.count, m.sum, m.min, m.max
FROM unnest(%(video_ids)s::text[], %(type_ids)s::smallint[], %(starts)s::timestamptz[]) AS u (video_id, type_id, start)
CROSS JOIN LATERAL (
    SELECT sum(e.count) AS count, sum(e.sum) AS sum, min(e.min) AS min, max(e.max) AS max
    FROM event_hour AS e
    WHERE e.partition = %(partition)s AND e.video_id = u.video_id AND e.event_type_id = u.type_id
        AND e.start >= u.start AND e.start < u.start + interval '24 hours'
) AS m
WHERE m.count IS NOT NULL

-- name: delete_marks (maintenance)
DELETE FROM rollup_dirty AS d
USING unnest(%(video_ids)s::text[], %(type_ids)s::smallint[], %(starts)s::timestamptz[]) AS u (video_id, type_id, start)
WHERE d.partition = %(partition)s AND d.tier = %(tier)s AND d.video_id = u.video_id
    AND d.event_type_id = u.type_id AND d.start = u.start

-- name: mark_sketches_due (maintenance)
INSERT INTO sketch_due AS t (partition, tier, start)
SELECT DISTINCT %(partition)s::smallint, %(tier)s::text, u.start FROM unnest(%(starts)s::timestamptz[]) AS u (start)
ON CONFLICT (partition, tier, start) DO UPDATE SET marked_at = clock_timestamp()
