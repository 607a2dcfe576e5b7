-- Viewers, or values, of a period: from sketches where they are right, from raw events where there are none or not yet.
--
-- As in ranges.sql, the caller's slices are narrowed in the snapshot of the data. A sketch of a day is used if the day's row is
-- clean and counts as many events as went into it; else the day is looked at by its hours. An hour without such a sketch, and
-- minutes, are `pieces` of raw events. Each comes back with how many events it counts: fewer raw events than that means
-- that some are not kept any more.

-- name: sketches_of_videos (range)
-- A row for each sketch, or piece and bucket, that is part of the answer, with its bytes; or, where that would be more than the
-- bounds allow, none of them: `lost_day`, `sketch_bytes`, `open_events`, `closed_events`, `open_pieces` and `piece_count` say why.
WITH seen AS MATERIALIZED (
    SELECT asked.partition, s.epoch, s.position, s.watermark, s.state, s.lost, s.rolled_through, s.minutes_since, s.hours_since,
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
), day_rows AS MATERIALIZED (
    SELECT r.partition, r.video_id, t.start, t.count, k.events IS NOT NULL AS is_sketched, k.data
    FROM days AS r CROSS JOIN LATERAL (
        SELECT e.start, e.count FROM event_day AS e
        WHERE e.partition = r.partition AND e.video_id = r.video_id AND e.event_type_id = %(event_type_id)s
            AND e.start >= r.first AND e.start < r.last
        OFFSET 0
    ) AS t LEFT JOIN LATERAL (
        SELECT e.events, CASE WHEN %(of_viewers)s::boolean THEN e.viewers ELSE e.quantiles END AS data
        FROM event_sketch AS e
        WHERE e.partition = r.partition AND e.tier = 'day' AND e.video_id = r.video_id
            AND e.event_type_id = %(event_type_id)s AND e.start = t.start AND e.events = t.count
            AND (%(of_viewers)s::boolean OR e.quantiles IS NOT NULL) AND %(uses_sketches)s::boolean
        OFFSET 0
    ) AS k ON TRUE
    WHERE (r.partition, r.video_id, t.start) NOT IN (SELECT d.partition, d.video_id, d.start FROM dirty_days AS d)
), days_by_hours AS MATERIALIZED (
    SELECT partition, video_id, start FROM dirty_days
    UNION ALL
    SELECT partition, video_id, start FROM day_rows WHERE NOT is_sketched
), hours AS MATERIALIZED (
    SELECT partition, video_id, first, least(last, rolled_through) AS last
    FROM slices WHERE tier = 'hour' AND first < rolled_through
    UNION ALL
    SELECT partition, video_id, greatest(first, days_through), least(last, rolled_through)
    FROM slices WHERE tier = 'day' AND greatest(first, days_through) < least(last, rolled_through)
    UNION ALL
    SELECT partition, video_id, start, start + interval '24 hours' FROM days_by_hours
), dirty_hours AS MATERIALIZED (
    SELECT r.partition, r.video_id, d.start
    FROM hours AS r CROSS JOIN LATERAL (
        SELECT m.start FROM rollup_dirty AS m
        WHERE m.partition = r.partition AND m.tier = 'hour' AND m.video_id = r.video_id
            AND m.event_type_id = %(event_type_id)s AND m.start >= r.first AND m.start < r.last
        OFFSET 0
    ) AS d
), hour_rows AS MATERIALIZED (
    SELECT r.partition, r.video_id, t.start, t.count, k.events IS NOT NULL AS is_sketched, k.data
    FROM hours AS r CROSS JOIN LATERAL (
        SELECT e.start, e.count FROM event_hour AS e
        WHERE e.partition = r.partition AND e.video_id = r.video_id AND e.event_type_id = %(event_type_id)s
            AND e.start >= r.first AND e.start < r.last
        OFFSET 0
    ) AS t LEFT JOIN LATERAL (
        SELECT e.events, CASE WHEN %(of_viewers)s::boolean THEN e.viewers ELSE e.quantiles END AS data
        FROM event_sketch AS e
        WHERE e.partition = r.partition AND e.tier = 'hour' AND e.video_id = r.video_id
            AND e.event_type_id = %(event_type_id)s AND e.start = t.start AND e.events = t.count
            AND (%(of_viewers)s::boolean OR e.quantiles IS NOT NULL) AND %(uses_sketches)s::boolean
        OFFSET 0
    ) AS k ON TRUE
    WHERE (r.partition, r.video_id, t.start) NOT IN (SELECT d.partition, d.video_id, d.start FROM dirty_hours AS d)
), minutes AS MATERIALIZED (
    SELECT partition, video_id, first, last, FALSE AS is_closed FROM slices WHERE tier = 'minute'
    UNION ALL
    SELECT partition, video_id, greatest(first, rolled_through), last, FALSE
    FROM slices WHERE tier <> 'minute' AND last > rolled_through
    UNION ALL
    SELECT partition, video_id, start, start + interval '1 hour', TRUE FROM dirty_hours
), pieces AS MATERIALIZED (
    SELECT row_number() OVER () AS piece, p.* FROM (
        SELECT partition, video_id, start AS first, start + interval '1 hour' AS last, TRUE AS is_closed, count
        FROM hour_rows WHERE NOT is_sketched
        UNION ALL
        SELECT r.partition, r.video_id, r.first, r.last, r.is_closed, t.count
        FROM minutes AS r CROSS JOIN LATERAL (
            SELECT sum(e.count)::bigint AS count FROM event_minute AS e
            WHERE e.partition = r.partition AND e.video_id = r.video_id AND e.event_type_id = %(event_type_id)s
                AND e.start >= r.first AND e.start < r.last
            OFFSET 0
        ) AS t
        WHERE t.count > 0
    ) AS p
), needed AS MATERIALIZED (
    SELECT n.*, n.lost_day IS NULL AND n.sketch_bytes <= %(max_bytes)s AND n.open_events + n.closed_events <= %(max_events)s
        AND n.piece_count <= %(max_pieces)s AS is_within
    FROM (
        SELECT
            (SELECT min(d.start) FROM days_by_hours AS d JOIN seen AS s ON s.partition = d.partition WHERE d.start < s.hours_since)
                AS lost_day,
            (SELECT coalesce(sum(octet_length(data)), 0) FROM day_rows)::bigint
                + (SELECT coalesce(sum(octet_length(data)), 0) FROM hour_rows)::bigint AS sketch_bytes,
            (SELECT coalesce(sum(count), 0) FROM pieces WHERE NOT is_closed)::bigint AS open_events,
            (SELECT coalesce(sum(count), 0) FROM pieces WHERE is_closed)::bigint AS closed_events,
            (SELECT count(*) FROM pieces WHERE NOT is_closed) AS open_pieces,
            (SELECT count(*) FROM pieces) AS piece_count
        OFFSET 0
    ) AS n
), found AS (
    SELECT partition, 'day' AS source, NULL::bigint AS piece, width_bucket(start, %(edges)s::timestamptz[]) AS bucket,
        count AS events, count AS counted, NULL::timestamptz AS since, data
    FROM day_rows WHERE is_sketched AND (SELECT is_within FROM needed)
    UNION ALL
    SELECT partition, 'hour', NULL, width_bucket(start, %(edges)s::timestamptz[]), count, count, NULL, data
    FROM hour_rows WHERE is_sketched AND (SELECT is_within FROM needed)
    UNION ALL
    SELECT r.partition, 'raw', r.piece, t.bucket, coalesce(t.events, 0), r.count, r.first, t.data
    FROM pieces AS r LEFT JOIN LATERAL (
        SELECT width_bucket(e.occurred_at, %(edges)s::timestamptz[]) AS bucket, count(*) AS events,
            string_agg(int8send(CASE WHEN %(of_viewers)s::boolean THEN e.viewer ELSE e.value END), ''::bytea)
                FILTER (WHERE e.viewer <> 0 OR NOT %(of_viewers)s::boolean) AS data
        FROM raw_event AS e
        WHERE e.partition = r.partition AND e.video_id = r.video_id AND e.event_type_id = %(event_type_id)s
            AND e.occurred_at >= r.first AND e.occurred_at < r.last
            AND e.received_at >= r.first - make_interval(secs => %(future_seconds)s)
        GROUP BY 1
        OFFSET 0
    ) AS t ON TRUE
    WHERE (SELECT is_within FROM needed)
)
SELECT s.partition, s.epoch, s.position, s.watermark, s.state, s.lost, s.rolled_through, s.minutes_since, s.hours_since,
    s.admits_since, s.generation,
    n.lost_day, n.sketch_bytes, n.open_events, n.closed_events, n.open_pieces, n.piece_count,
    f.source, f.piece, f.bucket, f.events, f.counted, f.since, f.data
FROM seen AS s
CROSS JOIN needed AS n
LEFT JOIN found AS f ON f.partition = s.partition
