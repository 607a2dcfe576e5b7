-- Answers for a period. The caller has cut it into slices, each at edges of a tier: days where whole UTC days are asked
-- for, days of which parts are asked for, minutes. Here each slice is narrowed in the snapshot of the data itself: from
-- `rolled_through` on, and for buckets marked in `rollup_dirty`, the rows come from the tier below. So every event is in
-- exactly one row, or part of a row, that is added.
--
-- Days of which parts are asked for (`split`) come from their rows' quarter hours: see 0006_quarter_hours.sql. Where such a
-- row cannot be split so finely, or is not clean, and for days not rolled yet, hours and minutes stand in for its parts
-- (`fallback`, by day). Where these are not kept either, `lost_day` names the day and the answer must not be used.
--
-- `OFFSET 0` keeps each access to a table a loop over few slices by index, whatever the planner believes of their number.

-- name: buckets_of_videos (range)
-- One event type of some videos, summed by bucket of `edges` and by partition. Without `extremes`, min and max are NULL
-- where they are not those of whole rows.
WITH fallback AS MATERIALIZED (
    SELECT * FROM unnest(
        %(fallback_days)s::timestamptz[], %(fallback_tiers)s::text[],
        %(fallback_starts)s::timestamptz[], %(fallback_ends)s::timestamptz[]
    ) AS f (day, tier, first, last)
), seen AS MATERIALIZED (
    SELECT asked.partition, s.epoch, s.position, s.watermark, s.state, s.lost, s.rolled_through, s.minutes_since, s.hours_since,
        s.admits_since, s.generation,
        date_trunc('day', s.rolled_through, 'UTC') AS days_through,
        coalesce((
            SELECT max(f.day) + interval '24 hours' FROM fallback AS f
            WHERE f.first < CASE f.tier WHEN 'minute' THEN s.minutes_since ELSE s.hours_since END
        ), '-infinity') AS fallback_since
    FROM unnest(%(partitions)s::smallint[]) AS asked (partition)
    LEFT JOIN partition_state AS s ON s.partition = asked.partition
), videos AS MATERIALIZED (
    SELECT s.partition, s.rolled_through, s.days_through, s.fallback_since, v.video_id
    FROM unnest(%(video_partitions)s::smallint[], %(video_ids)s::text[]) AS v (partition, video_id)
    JOIN seen AS s ON s.partition = v.partition
), slices AS MATERIALIZED (
    SELECT v.*, p.tier, p.first, p.last
    FROM unnest(%(tiers)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS p (tier, first, last)
    CROSS JOIN videos AS v
), days AS MATERIALIZED (
    SELECT partition, video_id, first, least(last, days_through) AS last
    FROM slices WHERE tier = 'day' AND first < days_through
), split AS MATERIALIZED (
    SELECT partition, video_id, fallback_since, first, least(last, days_through) AS last
    FROM slices WHERE tier = 'parts' AND first < days_through
), dirty_days AS MATERIALIZED (
    SELECT r.partition, r.video_id, d.start
    FROM days AS r CROSS JOIN LATERAL (
        SELECT m.start FROM rollup_dirty AS m
        WHERE m.partition = r.partition AND m.tier = 'day' AND m.video_id = r.video_id
            AND m.event_type_id = %(event_type_id)s AND m.start >= r.first AND m.start < r.last
        OFFSET 0
    ) AS d
), unsplit_days AS MATERIALIZED (
    SELECT r.partition, r.video_id, d.start, d.start < r.fallback_since AS is_lost
    FROM split AS r CROSS JOIN LATERAL (
        SELECT m.start FROM rollup_dirty AS m
        WHERE m.partition = r.partition AND m.tier = 'day' AND m.video_id = r.video_id
            AND m.event_type_id = %(event_type_id)s AND m.start >= r.first AND m.start < r.last
        UNION
        SELECT e.start FROM event_day AS e
        WHERE e.partition = r.partition AND e.video_id = r.video_id AND e.event_type_id = %(event_type_id)s
            AND e.start >= greatest(r.first, r.fallback_since) AND e.start < r.last
            AND (e.resolution IS NULL OR e.resolution > %(resolution)s)
    ) AS d
), hours AS MATERIALIZED (
    SELECT partition, video_id, greatest(first, days_through) AS first, least(last, rolled_through) AS last
    FROM slices WHERE tier = 'day' AND greatest(first, days_through) < least(last, rolled_through)
    UNION ALL
    SELECT partition, video_id, start, start + interval '24 hours' FROM dirty_days
    UNION ALL
    SELECT v.partition, v.video_id, f.first, least(f.last, v.rolled_through)
    FROM fallback AS f JOIN videos AS v ON f.day >= v.days_through
    WHERE f.tier = 'hour' AND f.first < v.rolled_through
    UNION ALL
    SELECT d.partition, d.video_id, f.first, f.last
    FROM unsplit_days AS d JOIN fallback AS f ON f.day = d.start
    WHERE f.tier = 'hour'
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
    FROM slices WHERE tier = 'day' AND last > rolled_through
    UNION ALL
    SELECT v.partition, v.video_id, f.first, f.last
    FROM fallback AS f JOIN videos AS v ON f.day >= v.days_through
    WHERE f.tier = 'minute'
    UNION ALL
    SELECT v.partition, v.video_id, greatest(f.first, v.rolled_through), f.last
    FROM fallback AS f JOIN videos AS v ON f.day >= v.days_through
    WHERE f.tier = 'hour' AND f.last > v.rolled_through
    UNION ALL
    SELECT d.partition, d.video_id, f.first, f.last
    FROM unsplit_days AS d JOIN fallback AS f ON f.day = d.start
    WHERE f.tier = 'minute'
    UNION ALL
    SELECT partition, video_id, start, start + interval '1 hour' FROM dirty_hours
), found AS (
    SELECT r.partition, width_bucket(t.start, %(edges)s::timestamptz[]) AS bucket, t.count, t.sum, t.min, t.max,
        NULL::timestamptz AS lost_day
    FROM days AS r CROSS JOIN LATERAL (
        SELECT e.start, e.count, e.sum, e.min, e.max FROM event_day AS e
        WHERE e.partition = r.partition AND e.video_id = r.video_id AND e.event_type_id = %(event_type_id)s
            AND e.start >= r.first AND e.start < r.last
        OFFSET 0
    ) AS t
    WHERE (r.partition, r.video_id, t.start) NOT IN (SELECT d.partition, d.video_id, d.start FROM dirty_days AS d)
    UNION ALL
    SELECT r.partition, (%(part_buckets)s::bigint[])[t.place]::integer, t.counts[t.through] - coalesce(t.counts[t.before], 0),
        CASE WHEN t.sums IS NULL THEN (t.counts[t.through] - coalesce(t.counts[t.before], 0)) * t.min
            ELSE t.sums[t.through] - coalesce(t.sums[t.before], 0) END,
        CASE WHEN t.sums IS NULL THEN t.min
            WHEN %(extremes)s::boolean THEN (SELECT min(u) FROM unnest(t.mins[t.before + 1:t.through]) AS u) END,
        CASE WHEN t.sums IS NULL THEN t.max
            WHEN %(extremes)s::boolean THEN (SELECT max(u) FROM unnest(t.maxs[t.before + 1:t.through]) AS u) END,
        CASE WHEN t.is_coarse THEN t.start END
    FROM split AS r CROSS JOIN LATERAL (
        SELECT p.*,
            CASE p.low WHEN 0 THEN 0 ELSE width_bucket((p.low - 1)::smallint, p.slots) END AS before,
            CASE p.high WHEN 96 THEN cardinality(p.slots) ELSE width_bucket((p.high - 1)::smallint, p.slots) END AS through
        FROM (
            SELECT n.*, (%(part_lows)s::smallint[])[n.place] AS low, (%(part_highs)s::smallint[])[n.place] AS high
            FROM (
                -- The places of the day's parts, by two searches: the planner would join them as a loop over all parts.
                SELECT e.start, e.min, e.max, e.slots, e.counts, e.sums, e.mins, e.maxs,
                    e.resolution IS NULL OR e.resolution > %(resolution)s AS is_coarse,
                    generate_series(
                        width_bucket(e.start - interval '1 second', %(part_days)s::timestamptz[]) + 1,
                        width_bucket(e.start, %(part_days)s::timestamptz[])
                    ) AS place
                FROM event_day AS e
                WHERE e.partition = r.partition AND e.video_id = r.video_id AND e.event_type_id = %(event_type_id)s
                    AND e.start >= r.first AND e.start < r.last
                OFFSET 0
            ) AS n
            OFFSET 0
        ) AS p
        OFFSET 0
    ) AS t
    WHERE (t.through > t.before OR t.is_coarse)
        AND (r.partition, r.video_id, t.start) NOT IN (SELECT d.partition, d.video_id, d.start FROM unsplit_days AS d)
    UNION ALL
    SELECT r.partition, width_bucket(t.start, %(edges)s::timestamptz[]), t.count, t.sum, t.min, t.max, NULL
    FROM hours AS r CROSS JOIN LATERAL (
        SELECT e.start, e.count, e.sum, e.min, e.max FROM event_hour AS e
        WHERE e.partition = r.partition AND e.video_id = r.video_id AND e.event_type_id = %(event_type_id)s
            AND e.start >= r.first AND e.start < r.last
        OFFSET 0
    ) AS t
    WHERE (r.partition, r.video_id, t.start) NOT IN (SELECT d.partition, d.video_id, d.start FROM dirty_hours AS d)
    UNION ALL
    SELECT r.partition, width_bucket(t.start, %(edges)s::timestamptz[]), t.count, t.sum, t.min, t.max, NULL
    FROM minutes AS r CROSS JOIN LATERAL (
        SELECT e.start, e.count, e.sum, e.min, e.max FROM event_minute AS e
        WHERE e.partition = r.partition AND e.video_id = r.video_id AND e.event_type_id = %(event_type_id)s
            AND e.start >= r.first AND e.start < r.last
        OFFSET 0
    ) AS t
), summed AS (
    SELECT partition, bucket, sum(count) AS count, sum(sum) AS sum,
        CASE WHEN count(min) = count(*) THEN min(min) END AS min, CASE WHEN count(max) = count(*) THEN max(max) END AS max,
        max(lost_day) AS lost_day
    FROM found GROUP BY 1, 2
)
SELECT s.partition, s.epoch, s.position, s.watermark, s.state, s.lost, s.rolled_through, s.minutes_since, s.hours_since,
    s.admits_since, s.generation,
    EXISTS (SELECT FROM dirty_days) AS has_dirty_days, EXISTS (SELECT FROM dirty_hours) AS has_dirty_hours,
    EXISTS (SELECT FROM unsplit_days) AS has_unsplit_days,
    greatest(
        b.lost_day,
        (SELECT max(d.start) FROM unsplit_days AS d WHERE d.partition = s.partition AND d.is_lost),
        CASE WHEN s.fallback_since > s.days_through THEN s.days_through END
    ) AS lost_day,
    b.bucket, b.count, b.sum, b.min, b.max
FROM seen AS s
LEFT JOIN summed AS b ON b.partition = s.partition

-- name: top_of_range (report)
-- The first `limit` videos of this shard over the slices, of the partitions that are here. A video lives on one shard only, so merging is exact.
-- Minutes are bounded once more, by what all partitions ask for: joined by partition alone they would be read from end to end,
-- while their index by `start` finds an hour of them at once.
WITH fallback AS MATERIALIZED (
    SELECT * FROM unnest(
        %(fallback_days)s::timestamptz[], %(fallback_tiers)s::text[],
        %(fallback_starts)s::timestamptz[], %(fallback_ends)s::timestamptz[]
    ) AS f (day, tier, first, last)
), parts AS MATERIALIZED (
    SELECT * FROM unnest(%(part_days)s::timestamptz[], %(part_lows)s::smallint[], %(part_highs)s::smallint[]) AS p (day, low, high)
), seen AS MATERIALIZED (
    SELECT asked.partition, s.epoch, s.position, s.watermark, s.state, s.lost, s.rolled_through, s.minutes_since, s.hours_since,
        date_trunc('day', s.rolled_through, 'UTC') AS days_through,
        coalesce((
            SELECT max(f.day) + interval '24 hours' FROM fallback AS f
            WHERE f.first < CASE f.tier WHEN 'minute' THEN s.minutes_since ELSE s.hours_since END
        ), '-infinity') AS fallback_since
    FROM unnest(%(partitions)s::smallint[]) AS asked (partition)
    LEFT JOIN partition_state AS s ON s.partition = asked.partition
), here AS MATERIALIZED (
    SELECT * FROM seen WHERE state NOT IN ('incoming', 'moved')
), slices AS MATERIALIZED (
    SELECT s.partition, s.rolled_through, s.days_through, s.fallback_since, p.tier, p.first, p.last
    FROM unnest(%(tiers)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS p (tier, first, last)
    CROSS JOIN here AS s
), days AS MATERIALIZED (
    SELECT partition, first, least(last, days_through) AS last
    FROM slices WHERE tier = 'day' AND first < days_through
), split AS MATERIALIZED (
    SELECT partition, fallback_since, first, least(last, days_through) AS last
    FROM slices WHERE tier = 'parts' AND first < days_through
), dirty_days AS MATERIALIZED (
    SELECT r.partition, m.video_id, m.start
    FROM days AS r JOIN rollup_dirty AS m ON m.partition = r.partition AND m.tier = 'day'
        AND m.event_type_id = %(event_type_id)s AND m.start >= r.first AND m.start < r.last
), unsplit_days AS MATERIALIZED (
    SELECT r.partition, m.video_id, m.start, m.start < r.fallback_since AS is_lost
    FROM split AS r JOIN rollup_dirty AS m ON m.partition = r.partition AND m.tier = 'day'
        AND m.event_type_id = %(event_type_id)s AND m.start >= r.first AND m.start < r.last
    UNION
    SELECT r.partition, e.video_id, e.start, e.start < r.fallback_since
    FROM split AS r JOIN event_day AS e ON e.partition = r.partition AND e.event_type_id = %(event_type_id)s
        AND e.start >= r.first AND e.start < r.last
    WHERE e.resolution IS NULL OR e.resolution > %(resolution)s
), stand_ins AS MATERIALIZED (
    SELECT d.partition, d.video_id, f.tier, f.first, f.last
    FROM unsplit_days AS d JOIN fallback AS f ON f.day = d.start
), hours AS MATERIALIZED (
    SELECT partition, greatest(first, days_through) AS first, least(last, rolled_through) AS last
    FROM slices WHERE tier = 'day' AND greatest(first, days_through) < least(last, rolled_through)
    UNION ALL
    SELECT s.partition, f.first, least(f.last, s.rolled_through)
    FROM fallback AS f JOIN here AS s ON f.day >= s.days_through
    WHERE f.tier = 'hour' AND f.first < s.rolled_through
), dirty_hours AS MATERIALIZED (
    SELECT r.partition, m.video_id, m.start
    FROM hours AS r JOIN rollup_dirty AS m ON m.partition = r.partition AND m.tier = 'hour'
        AND m.event_type_id = %(event_type_id)s AND m.start >= r.first AND m.start < r.last
    UNION ALL
    SELECT r.partition, r.video_id, m.start
    FROM dirty_days AS r JOIN rollup_dirty AS m ON m.partition = r.partition AND m.tier = 'hour'
        AND m.video_id = r.video_id AND m.event_type_id = %(event_type_id)s
        AND m.start >= r.start AND m.start < r.start + interval '24 hours'
    UNION ALL
    SELECT r.partition, r.video_id, m.start
    FROM stand_ins AS r JOIN rollup_dirty AS m ON m.partition = r.partition AND m.tier = 'hour'
        AND m.video_id = r.video_id AND m.event_type_id = %(event_type_id)s
        AND m.start >= r.first AND m.start < r.last
    WHERE r.tier = 'hour'
), minutes AS MATERIALIZED (
    SELECT partition, first, last FROM slices WHERE tier = 'minute'
    UNION ALL
    SELECT partition, greatest(first, rolled_through), last
    FROM slices WHERE tier = 'day' AND last > rolled_through
    UNION ALL
    SELECT s.partition, f.first, f.last
    FROM fallback AS f JOIN here AS s ON f.day >= s.days_through
    WHERE f.tier = 'minute'
    UNION ALL
    SELECT s.partition, greatest(f.first, s.rolled_through), f.last
    FROM fallback AS f JOIN here AS s ON f.day >= s.days_through
    WHERE f.tier = 'hour' AND f.last > s.rolled_through
), found AS (
    SELECT e.partition, e.video_id, e.count, e.sum, e.min, e.max
    FROM days AS r JOIN event_day AS e ON e.partition = r.partition AND e.event_type_id = %(event_type_id)s
        AND e.start >= r.first AND e.start < r.last
    WHERE (e.partition, e.video_id, e.start) NOT IN (SELECT d.partition, d.video_id, d.start FROM dirty_days AS d)
    UNION ALL
    SELECT t.partition, t.video_id, t.counts[t.through] - coalesce(t.counts[t.before], 0),
        CASE WHEN t.sums IS NULL THEN (t.counts[t.through] - coalesce(t.counts[t.before], 0)) * t.min
            ELSE t.sums[t.through] - coalesce(t.sums[t.before], 0) END,
        CASE WHEN t.sums IS NULL THEN t.min
            WHEN %(extremes)s::boolean THEN (SELECT min(u) FROM unnest(t.mins[t.before + 1:t.through]) AS u) END,
        CASE WHEN t.sums IS NULL THEN t.max
            WHEN %(extremes)s::boolean THEN (SELECT max(u) FROM unnest(t.maxs[t.before + 1:t.through]) AS u) END
    FROM (
        SELECT e.partition, e.video_id, e.start, e.min, e.max, e.counts, e.sums, e.mins, e.maxs,
            CASE p.low WHEN 0 THEN 0 ELSE width_bucket((p.low - 1)::smallint, e.slots) END AS before,
            CASE p.high WHEN 96 THEN cardinality(e.slots) ELSE width_bucket((p.high - 1)::smallint, e.slots) END AS through
        FROM split AS r JOIN parts AS p ON p.day >= r.first AND p.day < r.last
        JOIN event_day AS e ON e.partition = r.partition AND e.event_type_id = %(event_type_id)s AND e.start = p.day
        OFFSET 0
    ) AS t
    WHERE t.through > t.before
        AND (t.partition, t.video_id, t.start) NOT IN (SELECT d.partition, d.video_id, d.start FROM unsplit_days AS d)
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
    FROM stand_ins AS r JOIN event_hour AS e ON e.partition = r.partition AND e.video_id = r.video_id
        AND e.event_type_id = %(event_type_id)s AND e.start >= r.first AND e.start < r.last
    WHERE r.tier = 'hour'
        AND (e.partition, e.video_id, e.start) NOT IN (SELECT d.partition, d.video_id, d.start FROM dirty_hours AS d)
    UNION ALL
    SELECT e.partition, e.video_id, e.count, e.sum, e.min, e.max
    FROM stand_ins AS r JOIN event_minute AS e ON e.partition = r.partition AND e.video_id = r.video_id
        AND e.event_type_id = %(event_type_id)s AND e.start >= r.first AND e.start < r.last
    WHERE r.tier = 'minute'
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
    SELECT partition, video_id, sum(count) AS count, sum(sum) AS sum,
        CASE WHEN count(min) = count(*) THEN min(min)::numeric END AS min,
        CASE WHEN count(max) = count(*) THEN max(max)::numeric END AS max
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
SELECT s.partition, s.epoch, s.position, s.watermark, s.state, s.lost, s.rolled_through, s.minutes_since, s.hours_since,
    EXISTS (SELECT FROM dirty_days) AS has_dirty_days, EXISTS (SELECT FROM dirty_hours) AS has_dirty_hours,
    EXISTS (SELECT FROM unsplit_days) AS has_unsplit_days,
    greatest(
        (SELECT max(d.start) FROM unsplit_days AS d WHERE d.partition = s.partition AND d.is_lost),
        CASE WHEN s.fallback_since > s.days_through THEN s.days_through END
    ) AS lost_day,
    r.video_id, r.count, r.sum, r.min, r.max, nullif(v.title, '') AS title
FROM seen AS s
LEFT JOIN ranked AS r ON r.partition = s.partition
LEFT JOIN video AS v ON v.video_id = r.video_id
