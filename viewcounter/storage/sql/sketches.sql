-- Making sketches of rolled hours and days; see storage/sketches.py. What is read is read without a lock on the partition.

-- name: read_sketch_backlog (report)
SELECT s.partition, s.state, s.maintenance_held_until > now() AS is_being_moved,
    (SELECT count(*) FROM sketch_due AS d WHERE d.partition = s.partition AND d.tier = 'hour') AS due_hours,
    (SELECT count(*) FROM sketch_due AS d WHERE d.partition = s.partition AND d.tier = 'day') AS due_days
FROM partition_state AS s
WHERE s.partition = ANY (%(partitions)s::smallint[])

-- name: find_due (maintenance)
-- The oldest hour; when no hour of it is due any more, the oldest day.
SELECT tier, start, marked_at FROM sketch_due AS d
WHERE partition = %(partition)s AND (tier = 'hour' OR NOT EXISTS (
    SELECT FROM sketch_due AS h
    WHERE h.partition = d.partition AND h.tier = 'hour' AND h.start >= d.start AND h.start < d.start + interval '24 hours'
))
ORDER BY tier DESC, start LIMIT 1

-- name: find_stale_hours (maintenance)
-- Of one hour, in the order of the key, those whose sketch is missing or lacks events.
SELECT e.video_id, e.event_type_id, e.count
FROM event_hour AS e
LEFT JOIN event_sketch AS k ON k.partition = e.partition AND k.tier = 'hour' AND k.video_id = e.video_id
    AND k.event_type_id = e.event_type_id AND k.start = e.start
WHERE e.partition = %(partition)s AND e.start = %(start)s
    AND (e.video_id, e.event_type_id) > (%(after_video)s, %(after_type)s::smallint)
    AND (k.events IS NULL OR k.events < e.count
        OR (k.quantiles IS NULL AND e.event_type_id = ANY (%(valued_types)s::smallint[])))
ORDER BY e.video_id, e.event_type_id LIMIT %(limit)s

-- name: find_stale_days (maintenance)
SELECT e.video_id, e.event_type_id, e.count
FROM event_day AS e
LEFT JOIN event_sketch AS k ON k.partition = e.partition AND k.tier = 'day' AND k.video_id = e.video_id
    AND k.event_type_id = e.event_type_id AND k.start = e.start
WHERE e.partition = %(partition)s AND e.start = %(start)s
    AND (e.video_id, e.event_type_id) > (%(after_video)s, %(after_type)s::smallint)
    AND (k.events IS NULL OR k.events < e.count
        OR (k.quantiles IS NULL AND e.event_type_id = ANY (%(valued_types)s::smallint[])))
ORDER BY e.video_id, e.event_type_id LIMIT %(limit)s

-- name: read_raw_of_keys (maintenance)
-- By the place of each key in the parameters. An event is received at most `future_seconds` before it occurs, so days of
-- receipt that ended earlier are not looked at; the range of videos lets the block-range index skip the others.
SELECT u.place, count(*) AS events,
    string_agg(int8send(r.viewer), ''::bytea) FILTER (WHERE r.viewer <> 0) AS viewers,
    string_agg(int8send(r.value), ''::bytea) FILTER (WHERE u.is_valued) AS values
FROM unnest(%(video_ids)s::text[], %(type_ids)s::smallint[], %(are_valued)s::boolean[]) WITH ORDINALITY
    AS u (video_id, type_id, is_valued, place)
JOIN raw_event AS r ON r.video_id = u.video_id AND r.event_type_id = u.type_id
WHERE r.partition = %(partition)s AND r.video_id >= %(first_video)s AND r.video_id <= %(last_video)s
    AND r.occurred_at >= %(start)s::timestamptz AND r.occurred_at < %(end)s::timestamptz
    AND r.received_at >= %(start)s::timestamptz - make_interval(secs => %(future_seconds)s)
GROUP BY u.place

-- name: read_hour_sketches (maintenance)
SELECT u.place, k.events, k.viewers, k.quantiles
FROM unnest(%(video_ids)s::text[], %(type_ids)s::smallint[]) WITH ORDINALITY AS u (video_id, type_id, place)
JOIN event_sketch AS k ON k.partition = %(partition)s AND k.tier = 'hour' AND k.video_id = u.video_id
    AND k.event_type_id = u.type_id AND k.start >= %(start)s AND k.start < %(start)s + interval '24 hours'

-- name: store_sketches (maintenance)
-- Never one of fewer events in place of one of more: a maker that was slow, or found a day of raw events gone, changes nothing.
INSERT INTO event_sketch AS t (partition, tier, video_id, event_type_id, start, events, viewers, quantiles)
SELECT %(partition)s, %(tier)s, u.video_id, u.type_id, %(start)s, u.events,
    nullif(u.viewers, ''::bytea), nullif(u.quantiles, ''::bytea)
FROM unnest(%(video_ids)s::text[], %(type_ids)s::smallint[], %(events)s::bigint[], %(viewers)s::bytea[],
    %(quantiles)s::bytea[]) AS u (video_id, type_id, events, viewers, quantiles)
ON CONFLICT (partition, tier, video_id, event_type_id, start) DO UPDATE
SET events = excluded.events, viewers = excluded.viewers, quantiles = excluded.quantiles
WHERE excluded.events >= t.events

-- name: clear_due (maintenance)
-- Unless it was marked again meanwhile.
DELETE FROM sketch_due
WHERE partition = %(partition)s AND tier = %(tier)s AND start = %(start)s AND marked_at = %(marked_at)s
