-- Answers for a period. The caller has cut it into slices, each at edges of a tier: days where whole UTC days are asked
-- for, hours, minutes. Here each slice is narrowed in the snapshot of the data itself: from `rolled_through` on, and for
-- buckets marked in `rollup_dirty`, the rows come from the tier below. So every event is in exactly one row that is added.
--
-- `OFFSET 0` keeps each access to a table a loop over few slices by index, whatever the planner believes of their number.

-- name: buckets_of_videos (range)
-- One event type of some videos, summed by bucket of `edges` and by partition.
WITH seen AS MATERIALIZED (
    SELECT asked.partition, s.epoch, s.position, s.watermark, s.state, s.rolled_through, s.minutes_since, s.hours_since,
        s.admits_since, s.generation,
        date_trunc('day', s.rolled_through, 'UTC') AS days_through
    FROM unnest(%(partitions)s::smallint[]) AS asked (partition)
    LEFT JOIN partition_state AS s ON s.partition = asked.partition
), slices AS MATERIALIZED (
    SELECT s.partition, s.rolled_through, s.days_through, v.video_id, p.tier, p.first, p.last
    FROM unnest(%(tiers)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS p (tier, first, last)
    CROSS JOIN unnest(%(video_partitions)s::smallint[], %(video_ids)s::text[]) AS v (partition, video_id)
    JOIN seen AS s ON s.partition = v.partition
), days AS MATERIALIZED (
    SELECT partition, video_id, first, least(last, days_through) AS last
    FROM slices WHERE tier = 'day' AND first < days_through
), dirty_days AS MATERIALIZED (
    SELECT r.partition, r.video_id, d.start
    FROM days AS r CROSS JOIN LATERAL (
        SELECT m.start FROM rollup_dirty AS m
        WHERE m.partition = r.partition AND m.tier = 'day' AND m.video_id = r.video_id
            AND m.event_type_id = %(event_type_id)s AND m.start >= r.first AND m.start < r.last
        OFFSET 0
    ) AS d
), hours AS MATERIALIZED (
    SELECT partition, video_id, first, least(last, rolled_through) AS last
    FROM slices WHERE tier = 'hour' AND first < rolled_through
    UNION ALL
    SELECT partition, video_id, greatest(first, days_through), least(last, rolled_through)
    FROM slices WHERE tier = 'day' AND greatest(first, days_through) < least(last, rolled_through)
    UNION ALL
    SELECT partition, video_id, start, start + interval '24 hours' FROM dirty_days
), dirty_hours AS MATERIALIZED (
    SELECT r.partition, r.video_id, d.start
    FROM hours AS r CROSS JOIN LATERAL (
        SELECT m.start FROM rollup_dirty AS m
        WHERE m.partition = r.partition AND m.tier = 'hour' AND m.video_id = r.video_id
            AND m.event_type_id = %(event_type_id)s AND m.start >= r.first AND m.start < r.last
        OFFSET 0
    ) AS d
), minutes AS MATERIALIZED (
    SELECT partition, video_id, first, last FROM slices WHERE tier = 'minute'
    UNION ALL
    SELECT partition, video_id, greatest(first, rolled_through), last
    FROM slices WHERE tier <> 'minute' AND last > rolled_through
    UNION ALL
    SELECT partition, video_id, start, start + interval '1 hour' FROM dirty_hours
), found AS (
    SELECT r.partition, t.* FROM days AS r CROSS JOIN LATERAL (
        SELECT e.start, e.count, e.sum, e.min, e.max FROM event_day AS e
        WHERE e.partition = r.partition AND e.video_id = r.video_id AND e.event_type_id = %(event_type_id)s
            AND e.start >= r.first AND e.start < r.last
        OFFSET 0
    ) AS t
    WHERE (r.partition, r.video_id, t.start) NOT IN (SELECT d.partition, d.video_id, d.start FROM dirty_days AS d)
    UNION ALL
    SELECT r.partition, t.* FROM hours AS r CROSS JOIN LATERAL (
        SELECT e.start, e.count, e.sum, e.min, e.max FROM event_hour AS e
        WHERE e.partition = r.partition AND e.video_id = r.video_id AND e.event_type_id = %(event_type_id)s
            AND e.start >= r.first AND e.start < r.last
        OFFSET 0
    ) AS t
    WHERE (r.partition, r.video_id, t.start) NOT IN (SELECT d.partition, d.video_id, d.start FROM dirty_hours AS d)
    UNION ALL
    SELECT r.partition, t.* FROM minutes AS r CROSS JOIN LATERAL (
        SELECT e.start, e.count, e.sum, e.min, e.max FROM event_minute AS e
        WHERE e.partition = r.partition AND e.video_id = r.video_id AND e.event_type_id = %(event_type_id)s
            AND e.start >= r.first AND e.start < r.last
        OFFSET 0
    ) AS t
), summed AS (
    SELECT partition, width_bucket(start, %(edges)s::timestamptz[]) AS bucket,
        sum(count) AS count, sum(sum) AS sum, min(min) AS min, max(max) AS max
    FROM found GROUP BY 1, 2
)
SELECT s.partition, s.epoch, s.position, s.watermark, s.state, s.rolled_through, s.minutes_since, s.hours_since,
    s.admits_since, s.generation,
    EXISTS (SELECT FROM dirty_days) AS has_dirty_days, EXISTS (SELECT FROM dirty_hours) AS has_dirty_hours,
    b.bucket, b.count, b.sum, b.min, b.max
FROM seen AS s
LEFT JOIN summed AS b ON b.partition = s.partition

-- name: top_of_range (report)
-- The first `limit` videos of this shard over the slices, of the partitions that are here. A video lives on one shard only, so merging is exact.
-- Minutes are bounded once more, by what all partitions ask for: joined by partition alone they would be read from end to end,
-- while their index by `start` finds an hour of them at once.
WITH seen AS MATERIALIZED (
    SELECT asked.partition, s.epoch, s.position, s.watermark, s.state, s.rolled_through, s.minutes_since, s.hours_since,
        date_trunc('day', s.rolled_through, 'UTC') AS days_through
    FROM unnest(%(partitions)s::smallint[]) AS asked (partition)
    LEFT JOIN partition_state AS s ON s.partition = asked.partition
), slices AS MATERIALIZED (
    SELECT s.partition, s.rolled_through, s.days_through, p.tier, p.first, p.last
    FROM unnest(%(tiers)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS p (tier, first, last)
    CROSS JOIN seen AS s
    WHERE s.state NOT IN ('incoming', 'moved')
), days AS MATERIALIZED (
    SELECT partition, first, least(last, days_through) AS last
    FROM slices WHERE tier = 'day' AND first < days_through
), dirty_days AS MATERIALIZED (
    SELECT r.partition, m.video_id, m.start
    FROM days AS r JOIN rollup_dirty AS m ON m.partition = r.partition AND m.tier = 'day'
        AND m.event_type_id = %(event_type_id)s AND m.start >= r.first AND m.start < r.last
), hours AS MATERIALIZED (
    SELECT partition, first, least(last, rolled_through) AS last
    FROM slices WHERE tier = 'hour' AND first < rolled_through
    UNION ALL
    SELECT partition, greatest(first, days_through), least(last, rolled_through)
    FROM slices WHERE tier = 'day' AND greatest(first, days_through) < least(last, rolled_through)
), dirty_hours AS MATERIALIZED (
    SELECT r.partition, m.video_id, m.start
    FROM hours AS r JOIN rollup_dirty AS m ON m.partition = r.partition AND m.tier = 'hour'
        AND m.event_type_id = %(event_type_id)s AND m.start >= r.first AND m.start < r.last
    UNION ALL
    SELECT r.partition, r.video_id, m.start
    FROM dirty_days AS r JOIN rollup_dirty AS m ON m.partition = r.partition AND m.tier = 'hour'
        AND m.video_id = r.video_id AND m.event_type_id = %(event_type_id)s
        AND m.start >= r.start AND m.start < r.start + interval '24 hours'
), minutes AS MATERIALIZED (
    SELECT partition, first, last FROM slices WHERE tier = 'minute'
    UNION ALL
    SELECT partition, greatest(first, rolled_through), last
    FROM slices WHERE tier <> 'minute' AND last > rolled_through
), found AS (
    SELECT e.partition, e.video_id, e.count, e.sum, e.min, e.max
    FROM days AS r JOIN event_day AS e ON e.partition = r.partition AND e.event_type_id = %(event_type_id)s
        AND e.start >= r.first AND e.start < r.last
    WHERE (e.partition, e.video_id, e.start) NOT IN (SELECT d.partition, d.video_id, d.start FROM dirty_days AS d)
    UNION ALL
    SELECT e.partition, e.video_id, e.count, e.sum, e.min, e.max
    FROM hours AS r JOIN event_hour AS e ON e.partition = r.partition AND e.event_type_id = %(event_type_id)s
        AND e.start >= r.first AND e.start < r.last
    WHERE (e.partition, e.video_id, e.start) NOT IN (SELECT d.partition, d.video_id, d.start FROM dirty_hours AS d)
    UNION ALL
    SELECT e.partition, e.video_id, e.count, e.sum, e.min, e.max
    FROM dirty_days AS r JOIN event_hour AS e ON e.partition = r.partition AND e.video_id = r.video_id
        AND e.event_type_id = %(event_type_id)s AND e.start >= r.start AND e.start < r.start + interval '24 hours'
    WHERE (e.partition, e.video_id, e.start) NOT IN (SELECT d.partition, d.video_id, d.start FROM dirty_hours AS d)
    UNION ALL
    SELECT e.partition, e.video_id, e.count, e.sum, e.min, e.max
    FROM minutes AS r JOIN event_minute AS e ON e.partition = r.partition AND e.event_type_id = %(event_type_id)s
        AND e.start >= r.first AND e.start < r.last
    WHERE e.start >= (SELECT min(first) FROM minutes) AND e.start < (SELECT max(last) FROM minutes)
    UNION ALL
    SELECT e.partition, e.video_id, e.count, e.sum, e.min, e.max
    FROM dirty_hours AS r JOIN event_minute AS e ON e.partition = r.partition AND e.video_id = r.video_id
        AND e.event_type_id = %(event_type_id)s AND e.start >= r.start AND e.start < r.start + interval '1 hour'
), summed AS (
    SELECT partition, video_id,
        sum(count) AS count, sum(sum) AS sum, min(min)::numeric AS min, max(max)::numeric AS max
    FROM found GROUP BY partition, video_id
), ranked AS MATERIALIZED (
    SELECT * FROM summed AS t
    ORDER BY CASE %(function)s::text
        WHEN 'count' THEN t.count
        WHEN 'sum' THEN t.sum
        WHEN 'average' THEN t.sum / t.count
        WHEN 'min' THEN t.min
        WHEN 'max' THEN t.max
    END DESC, t.video_id
    LIMIT %(limit)s
)
SELECT s.partition, s.epoch, s.position, s.watermark, s.state, s.rolled_through, s.minutes_since, s.hours_since,
    EXISTS (SELECT FROM dirty_days) AS has_dirty_days, EXISTS (SELECT FROM dirty_hours) AS has_dirty_hours,
    r.video_id, r.count, r.sum, r.min, r.max, nullif(v.title, '') AS title
FROM seen AS s
LEFT JOIN ranked AS r ON r.partition = s.partition
LEFT JOIN video AS v ON v.video_id = r.video_id
