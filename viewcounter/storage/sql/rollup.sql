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

-- name: mark_day_of_dirty_hours (maintenance)
-- A day that is closed while hours of it wait to be replaced is itself not yet right for their videos.
INSERT INTO rollup_dirty (partition, tier, video_id, event_type_id, start)
SELECT DISTINCT partition, 'day', video_id, event_type_id, %(start)s::timestamptz
FROM rollup_dirty
WHERE partition = %(partition)s AND tier = 'hour' AND start >= %(start)s AND start < %(start)s + interval '24 hours'
ON CONFLICT DO NOTHING

-- name: mark_unsplit_days (maintenance)
-- Days that an earlier release has rolled, while their minutes are kept: they are rolled anew with their quarter hours.
INSERT INTO rollup_dirty (partition, tier, video_id, event_type_id, start)
SELECT e.partition, 'day', e.video_id, e.event_type_id, e.start
FROM event_day AS e JOIN partition_state AS s ON s.partition = e.partition
WHERE e.partition = %(partition)s AND e.start >= s.minutes_since AND e.resolution IS NULL
ON CONFLICT DO NOTHING

-- name: find_unsplit_days (maintenance)
SELECT video_id, event_type_id, start FROM event_day
WHERE partition = %(partition)s AND start = %(start)s AND resolution IS NULL

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
-- With their quarter hours, from the minutes; from the hours where the day's minutes are gone. storage/rollup.py derives from
-- it the statement for all videos of a day.
WITH days AS MATERIALIZED (
    SELECT u.video_id, u.type_id, u.start, CASE WHEN u.start >= s.minutes_since THEN 15 ELSE 60 END AS resolution
    FROM unnest(%(video_ids)s::text[], %(type_ids)s::smallint[], %(starts)s::timestamptz[])
        AS u (video_id, type_id, start)
    JOIN partition_state AS s ON s.partition = %(partition)s
), slots AS (
    SELECT d.*, p.*
    FROM days AS d CROSS JOIN LATERAL (
        SELECT (extract(epoch FROM e.start - d.start)::integer / 900)::smallint AS slot,
            sum(e.count) AS count, sum(e.sum) AS sum, min(e.min) AS min, max(e.max) AS max
        FROM (
            SELECT m.start, m.count, m.sum, m.min, m.max FROM event_minute AS m
            WHERE d.resolution = 15 AND m.partition = %(partition)s AND m.video_id = d.video_id
                AND m.event_type_id = d.type_id AND m.start >= d.start AND m.start < d.start + interval '24 hours'
            UNION ALL
            SELECT h.start, h.count, h.sum, h.min, h.max FROM event_hour AS h
            WHERE d.resolution = 60 AND h.partition = %(partition)s AND h.video_id = d.video_id
                AND h.event_type_id = d.type_id AND h.start >= d.start AND h.start < d.start + interval '24 hours'
        ) AS e
        GROUP BY 1
    ) AS p
), running AS (
    SELECT *, sum(count) OVER through_slot AS counts, sum(sum) OVER through_slot AS sums
    FROM slots WINDOW through_slot AS (PARTITION BY video_id, type_id, start ORDER BY slot)
)
INSERT INTO event_day (
    partition, video_id, event_type_id, start, count, sum, min, max, resolution, slots, counts, sums, mins, maxs
)
SELECT %(partition)s, video_id, type_id, start, sum(count), sum(sum), min(min), max(max), resolution,
    array_agg(slot ORDER BY slot), array_agg(counts ORDER BY slot),
    CASE WHEN min(min) < max(max) THEN array_agg(sums ORDER BY slot) END,
    CASE WHEN min(min) < max(max) THEN array_agg(min ORDER BY slot) END,
    CASE WHEN min(min) < max(max) THEN array_agg(max ORDER BY slot) END
FROM running
GROUP BY video_id, type_id, start, resolution

-- name: delete_marks (maintenance)
DELETE FROM rollup_dirty AS d
USING unnest(%(video_ids)s::text[], %(type_ids)s::smallint[], %(starts)s::timestamptz[]) AS u (video_id, type_id, start)
WHERE d.partition = %(partition)s AND d.tier = %(tier)s AND d.video_id = u.video_id
    AND d.event_type_id = u.type_id AND d.start = u.start

-- name: mark_sketches_due (maintenance)
INSERT INTO sketch_due AS t (partition, tier, start)
SELECT DISTINCT %(partition)s::smallint, %(tier)s::text, u.start FROM unnest(%(starts)s::timestamptz[]) AS u (start)
ON CONFLICT (partition, tier, start) DO UPDATE SET marked_at = clock_timestamp()
