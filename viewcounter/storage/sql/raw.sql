-- Reading raw events.

-- name: slice_of_video (range)
-- One page of a video's raw events, and what the shard has applied of the partition, in one snapshot. `after_at` and
-- `after_id` are the last event of the page before. An event is received at most `future_seconds` before it occurs,
-- so days of receipt that ended earlier are not looked at. The oldest day there is and `raw_since`
-- say from when on raw events are kept.
SELECT asked.partition, s.epoch, s.position, s.watermark, s.state, s.lost, s.raw_since,
    (
        SELECT min(day.relname) FROM pg_inherits AS i JOIN pg_class AS day ON day.oid = i.inhrelid
        WHERE i.inhparent = 'raw_event'::regclass
    ) AS oldest_raw_day,
    e.event_id, t.name AS event_type, e.occurred_at, e.received_at, e.value
FROM (VALUES (%(partition)s::smallint)) AS asked (partition)
LEFT JOIN partition_state AS s ON s.partition = asked.partition
LEFT JOIN LATERAL (
    SELECT r.event_id, r.event_type_id, r.occurred_at, r.received_at, r.value
    FROM raw_event AS r
    WHERE r.partition = %(partition)s AND r.video_id = %(video_id)s
        AND (%(event_type_id)s::smallint IS NULL OR r.event_type_id = %(event_type_id)s)
        AND r.occurred_at >= %(start)s::timestamptz AND r.occurred_at < %(end)s::timestamptz
        AND r.received_at >= %(start)s::timestamptz - make_interval(secs => %(future_seconds)s)
        AND (r.occurred_at, r.event_id) > (%(after_at)s::timestamptz, %(after_id)s::uuid)
    ORDER BY r.occurred_at, r.event_id
    LIMIT %(limit)s
) AS e ON TRUE
LEFT JOIN event_type AS t ON t.id = e.event_type_id
ORDER BY e.occurred_at, e.event_id
