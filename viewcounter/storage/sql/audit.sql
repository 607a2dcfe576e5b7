-- Comparing what was counted with what it was counted from. Everything here runs in one snapshot of a shard, in which
-- ledger, raw events and aggregates agree at any moment, because a flush writes all of them at once.

-- name: edges_of_partitions (maintenance)
-- From when on each tier is kept. A partition that is not here has a null state.
SELECT asked.partition, s.state, s.admits_since, s.rolled_through, s.minutes_since, s.hours_since, s.raw_since,
    (
        SELECT min(day.relname) FROM pg_inherits AS i JOIN pg_class AS day ON day.oid = i.inhrelid
        WHERE i.inhparent = 'raw_event'::regclass
    ) AS oldest_raw_day
FROM unnest(%(partitions)s::smallint[]) AS asked (partition)
LEFT JOIN partition_state AS s ON s.partition = asked.partition

-- name: sums_of_hour (maintenance)
-- One row a partition: its ledger line, and how many events its aggregates hold for that hour.
SELECT asked.partition,
    l.received, l.counted, l.duplicate, l.conflict, l.dead_lettered, l.digest,
    coalesce(m.count, 0) AS minute_count, coalesce(h.count, 0) AS hour_count
FROM unnest(%(partitions)s::smallint[]) AS asked (partition)
LEFT JOIN ledger AS l ON l.partition = asked.partition AND l.hour = %(hour)s
LEFT JOIN (
    SELECT partition, sum(count) AS count FROM event_minute
    WHERE partition = ANY (%(partitions)s::smallint[])
        AND start >= %(hour)s AND start < %(hour)s::timestamptz + interval '1 hour'
    GROUP BY partition
) AS m ON m.partition = asked.partition
LEFT JOIN (
    SELECT partition, sum(count) AS count FROM event_hour
    WHERE partition = ANY (%(partitions)s::smallint[]) AND start = %(hour)s
    GROUP BY partition
) AS h ON h.partition = asked.partition
ORDER BY asked.partition

-- name: copy_ids_of_hour (maintenance)
-- Fixed-width rows, so that the stream can be read as an array.
COPY (
    SELECT partition, occurred_at, event_id FROM raw_event
    WHERE partition = ANY (%(partitions)s::smallint[])
        AND occurred_at >= %(hour)s AND occurred_at < %(hour)s::timestamptz + interval '1 hour'
        AND received_at >= %(hour)s::timestamptz - make_interval(secs => %(future_seconds)s)
) TO STDOUT (FORMAT BINARY)

-- name: count_stored_ids (maintenance)
-- How many ids stand under each of these minutes. Their length is known without reading them.
SELECT u.minute, coalesce(sum(octet_length(e.ids)) / 16, 0) AS id_count
FROM unnest(%(minutes)s::timestamptz[]) AS u (minute)
LEFT JOIN event_ids AS e ON e.partition = %(partition)s AND e.minute = u.minute
GROUP BY u.minute

-- name: minutes_unlike_raw (maintenance)
-- Minutes of [start, end) whose row is not what raw events say, of some videos of one partition: each with both sides,
-- one of which may be missing; and in each row how many of its tier there are, those beyond the limit included.
WITH built AS (
    SELECT video_id, event_type_id, date_trunc('minute', occurred_at, 'UTC') AS start,
        count(*) AS count, sum(value) AS sum, min(value) AS min, max(value) AS max
    FROM raw_event
    WHERE partition = %(partition)s AND video_id >= %(first_video)s AND video_id <= %(last_video)s
        AND occurred_at >= %(start)s AND occurred_at < %(end)s
        AND received_at >= %(start)s::timestamptz - make_interval(secs => %(future_seconds)s)
    GROUP BY 1, 2, 3
), kept AS (
    SELECT video_id, event_type_id, start, count, sum, min, max
    FROM event_minute
    WHERE partition = %(partition)s AND video_id >= %(first_video)s AND video_id <= %(last_video)s
        AND start >= %(start)s AND start < %(end)s
)
SELECT 'minute' AS tier, video_id, event_type_id, start,
    k.count AS found_count, k.sum AS found_sum, k.min AS found_min, k.max AS found_max,
    b.count AS expected_count, b.sum AS expected_sum, b.min AS expected_min, b.max AS expected_max,
    count(*) OVER () AS difference_count
FROM built AS b FULL JOIN kept AS k USING (video_id, event_type_id, start)
WHERE (k.count, k.sum, k.min, k.max) IS DISTINCT FROM (b.count, b.sum, b.min, b.max)
ORDER BY video_id, event_type_id, start
LIMIT %(limit)s

-- name: rollups_unlike_minutes (maintenance)
-- The same for hours and days that count as rolled, and for the quarter hours in rows of days: without a mark they must
-- equal the minutes below them, or raw events from `raw_from` on (infinity: minutes only).
WITH part AS (
    SELECT video_id, event_type_id, start, count, sum, min, max
    FROM event_minute
    WHERE partition = %(partition)s AND video_id >= %(first_video)s AND video_id <= %(last_video)s
        AND start >= %(start)s AND start < least(%(end)s, %(raw_from)s::timestamptz)
    UNION ALL
    SELECT video_id, event_type_id, occurred_at, 1, value, value, value
    FROM raw_event
    WHERE partition = %(partition)s AND video_id >= %(first_video)s AND video_id <= %(last_video)s
        AND occurred_at >= greatest(%(start)s, %(raw_from)s::timestamptz) AND occurred_at < %(end)s
        AND received_at >= greatest(%(start)s, %(raw_from)s::timestamptz) - make_interval(secs => %(future_seconds)s)
), days AS MATERIALIZED (
    SELECT video_id, event_type_id, start, count, sum, min, max, resolution, slots, counts, sums, mins, maxs FROM event_day
    WHERE partition = %(partition)s AND video_id >= %(first_video)s AND video_id <= %(last_video)s
        AND start >= %(day_start)s AND start < %(day_end)s
), built AS (
    SELECT tier.name AS tier, video_id, event_type_id,
        CASE tier.name WHEN 'quarter' THEN date_bin(interval '15 minutes', start, timestamptz '2000-01-01 00:00:00+00')
            ELSE date_trunc(tier.name, start, 'UTC') END AS start,
        sum(count) AS count, sum(sum) AS sum, min(min) AS min, max(max) AS max
    FROM part
    CROSS JOIN (
        VALUES ('hour', %(start)s::timestamptz, %(end)s::timestamptz),
            ('day', %(day_start)s::timestamptz, %(day_end)s::timestamptz),
            ('quarter', %(day_start)s::timestamptz, %(day_end)s::timestamptz)
    ) AS tier (name, since, until)
    WHERE start >= tier.since AND start < tier.until
        AND (tier.name <> 'quarter' OR (video_id, event_type_id, date_trunc('day', start, 'UTC')) IN (
            SELECT d.video_id, d.event_type_id, d.start FROM days AS d WHERE d.resolution = 15
        ))
    GROUP BY 1, 2, 3, 4
), kept AS (
    SELECT 'hour' AS tier, video_id, event_type_id, start, count, sum, min, max FROM event_hour
    WHERE partition = %(partition)s AND video_id >= %(first_video)s AND video_id <= %(last_video)s
        AND start >= %(start)s AND start < %(end)s
    UNION ALL
    SELECT 'day', video_id, event_type_id, start, count, sum, min, max FROM days
    UNION ALL
    SELECT 'quarter', d.video_id, d.event_type_id, d.start + p.slot * interval '15 minutes', p.count,
        coalesce(p.sum, p.count * d.min), coalesce(p.min, d.min), coalesce(p.max, d.max)
    FROM days AS d CROSS JOIN LATERAL (
        SELECT u.slot, u.count - lag(u.count, 1, 0::bigint) OVER w AS count, u.sum - lag(u.sum, 1, 0::bigint) OVER w AS sum,
            u.min, u.max
        FROM unnest(d.slots, d.counts, d.sums, d.mins, d.maxs) WITH ORDINALITY AS u (slot, count, sum, min, max, place)
        WINDOW w AS (ORDER BY u.place)
    ) AS p
    WHERE d.resolution = 15
)
SELECT tier, video_id, event_type_id, start,
    k.count AS found_count, k.sum AS found_sum, k.min AS found_min, k.max AS found_max,
    b.count AS expected_count, b.sum AS expected_sum, b.min AS expected_min, b.max AS expected_max,
    count(*) OVER (PARTITION BY tier) AS difference_count
FROM built AS b FULL JOIN kept AS k USING (tier, video_id, event_type_id, start)
WHERE (k.count, k.sum, k.min, k.max) IS DISTINCT FROM (b.count, b.sum, b.min, b.max)
    AND NOT EXISTS (
        SELECT FROM rollup_dirty AS d
        WHERE d.partition = %(partition)s
            AND d.tier = CASE coalesce(b.tier, k.tier) WHEN 'hour' THEN 'hour' ELSE 'day' END
            AND d.video_id = coalesce(b.video_id, k.video_id)
            AND d.event_type_id = coalesce(b.event_type_id, k.event_type_id)
            AND d.start = CASE coalesce(b.tier, k.tier) WHEN 'quarter' THEN date_trunc('day', coalesce(b.start, k.start), 'UTC')
                ELSE coalesce(b.start, k.start) END
    )
ORDER BY video_id, event_type_id, tier, start
LIMIT %(limit)s

-- name: totals_unlike_tiers (maintenance)
-- The same for all-time totals: days before `hours_since`, hours before `minutes_since`, minutes before `raw_from` and
-- raw events from there on (infinity: minutes only) together are all there ever was.
WITH edges AS MATERIALIZED (
    SELECT minutes_since, hours_since FROM partition_state WHERE partition = %(partition)s
), part AS (
    SELECT video_id, event_type_id, count, sum, min, max FROM event_day
    WHERE partition = %(partition)s AND video_id >= %(first_video)s AND video_id <= %(last_video)s
        AND start < (SELECT hours_since FROM edges)
    UNION ALL
    SELECT video_id, event_type_id, count, sum, min, max FROM event_hour
    WHERE partition = %(partition)s AND video_id >= %(first_video)s AND video_id <= %(last_video)s
        AND start >= (SELECT hours_since FROM edges) AND start < (SELECT minutes_since FROM edges)
    UNION ALL
    SELECT video_id, event_type_id, count, sum, min, max FROM event_minute
    WHERE partition = %(partition)s AND video_id >= %(first_video)s AND video_id <= %(last_video)s
        AND start >= (SELECT minutes_since FROM edges) AND start < %(raw_from)s
    UNION ALL
    SELECT video_id, event_type_id, 1, value, value, value FROM raw_event
    WHERE partition = %(partition)s AND video_id >= %(first_video)s AND video_id <= %(last_video)s
        AND occurred_at >= %(raw_from)s
        AND received_at >= %(raw_from)s::timestamptz - make_interval(secs => %(future_seconds)s)
), built AS (
    SELECT video_id, event_type_id, sum(count) AS count, sum(sum) AS sum, min(min) AS min, max(max) AS max
    FROM part GROUP BY 1, 2
), kept AS (
    SELECT video_id, event_type_id, count, sum, min, max FROM event_total
    WHERE partition = %(partition)s AND video_id >= %(first_video)s AND video_id <= %(last_video)s
)
SELECT 'total' AS tier, video_id, event_type_id, NULL::timestamptz AS start,
    k.count AS found_count, k.sum AS found_sum, k.min AS found_min, k.max AS found_max,
    b.count AS expected_count, b.sum AS expected_sum, b.min AS expected_min, b.max AS expected_max,
    count(*) OVER () AS difference_count
FROM built AS b FULL JOIN kept AS k USING (video_id, event_type_id)
WHERE (k.count, k.sum, k.min, k.max) IS DISTINCT FROM (b.count, b.sum, b.min, b.max)
ORDER BY video_id, event_type_id
LIMIT %(limit)s

-- name: videos_from (maintenance)
-- The last of the next videos of a partition from `first_video` on, and how many these are. Both are null and 0 at the end.
SELECT max(video_id) AS last_video, count(*) AS video_count
FROM (
    SELECT video_id FROM video
    WHERE partition = %(partition)s AND video_id >= %(first_video)s
    ORDER BY video_id LIMIT %(limit)s
) AS following

-- name: count_videos (maintenance)
SELECT count(*) AS video_count FROM video WHERE partition = %(partition)s

-- name: nth_video (maintenance)
SELECT video_id FROM video WHERE partition = %(partition)s ORDER BY video_id OFFSET %(offset)s LIMIT 1
