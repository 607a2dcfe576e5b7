-- What readers ask of a shard. Every statement answers, in the same snapshot as its data, what has been applied
-- of each partition involved: one row a partition comes back even when there is nothing to report (left joins from
-- the partitions asked for), and a partition that is not here shows a null `state`.

-- name: counts_of_video (point)
-- All event types of one video, by the primary key of event_total. Flushes and the catalogue make its row in `video`.
SELECT asked.partition, s.epoch, s.position, s.watermark, s.state, s.lost, v.video_id IS NOT NULL AS known, t.event_type_id, t.count
FROM (VALUES (%(partition)s::smallint)) AS asked (partition)
LEFT JOIN partition_state AS s ON s.partition = asked.partition
LEFT JOIN video AS v ON v.video_id = %(video_id)s
LEFT JOIN event_total AS t ON t.partition = asked.partition AND t.video_id = %(video_id)s

-- name: counts_of_videos (range)
-- Videos of many partitions of one shard; `video_partitions` and `video_ids` run in parallel and may name videos of
-- other shards, which are left aside. Each video has a row, also one without events.
SELECT asked.partition, s.epoch, s.position, s.watermark, s.state, s.lost, wanted.video_id, v.video_id IS NOT NULL AS known,
    t.event_type_id, t.count
FROM unnest(%(partitions)s::smallint[]) AS asked (partition)
LEFT JOIN partition_state AS s ON s.partition = asked.partition
LEFT JOIN unnest(%(video_partitions)s::smallint[], %(video_ids)s::text[]) AS wanted (partition, video_id)
    ON wanted.partition = asked.partition
LEFT JOIN video AS v ON v.video_id = wanted.video_id
LEFT JOIN event_total AS t ON t.partition = wanted.partition AND t.video_id = wanted.video_id

-- name: total_of_video (point)
-- One event type of one video over all time.
SELECT asked.partition, s.epoch, s.position, s.watermark, s.state, s.lost, t.count, t.sum, t.min, t.max
FROM (VALUES (%(partition)s::smallint)) AS asked (partition)
LEFT JOIN partition_state AS s ON s.partition = asked.partition
LEFT JOIN event_total AS t
    ON t.partition = asked.partition AND t.video_id = %(video_id)s AND t.event_type_id = %(event_type_id)s

-- name: top_of_all_time (report)
-- The first `limit` videos of this shard, of the partitions that are here. A video lives on one shard only, so merging the shards' lists is exact.
WITH ranked AS MATERIALIZED (
    SELECT t.partition, t.video_id, t.count, t.sum, t.min, t.max
    FROM partition_state AS s JOIN event_total AS t ON t.partition = s.partition
    WHERE s.partition = ANY (%(partitions)s::smallint[]) AND s.state NOT IN ('incoming', 'moved')
        AND t.event_type_id = %(event_type_id)s
    ORDER BY CASE %(function)s::text
        WHEN 'count' THEN t.count::numeric
        WHEN 'sum' THEN t.sum::numeric
        WHEN 'average' THEN t.sum::numeric / t.count
        WHEN 'min' THEN t.min::numeric
        WHEN 'max' THEN t.max::numeric
    END DESC, t.video_id
    LIMIT %(limit)s
)
SELECT asked.partition, s.epoch, s.position, s.watermark, s.state, s.lost,
    r.video_id, r.count, r.sum, r.min, r.max, nullif(v.title, '') AS title
FROM unnest(%(partitions)s::smallint[]) AS asked (partition)
LEFT JOIN partition_state AS s ON s.partition = asked.partition
LEFT JOIN ranked AS r ON r.partition = asked.partition
LEFT JOIN video AS v ON v.video_id = r.video_id
