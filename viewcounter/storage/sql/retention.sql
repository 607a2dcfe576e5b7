-- What is removed for its age. A partition's row says first what is gone (`admits_since`, `minutes_since`, `hours_since`),
-- in the transaction that removes it or one before; see storage/retention.py.

-- name: find_oldest_marks (maintenance)
SELECT min(start) FILTER (WHERE tier = 'hour') AS hour, min(start) FILTER (WHERE tier = 'day') AS day,
    (SELECT min(start) FROM sketch_due WHERE partition = %(partition)s) AS sketch
FROM rollup_dirty WHERE partition = %(partition)s

-- name: set_horizon (maintenance)
UPDATE partition_state
SET admits_since = %(admits_since)s, minutes_since = %(minutes_since)s, hours_since = %(hours_since)s
WHERE partition = %(partition)s

-- name: delete_minutes_of_hour (maintenance)
-- By the keys of the rolled hour, so that only its own minutes are looked at, through the primary key.
DELETE FROM event_minute AS m
USING event_hour AS h
WHERE h.partition = %(partition)s AND h.start = %(hour)s
    AND m.partition = h.partition AND m.video_id = h.video_id AND m.event_type_id = h.event_type_id
    AND m.start >= %(hour)s AND m.start < %(hour)s + interval '1 hour'

-- name: find_first_rolled_hour (maintenance)
SELECT start FROM event_hour WHERE partition = %(partition)s ORDER BY start LIMIT 1

-- name: delete_hours_of_day (maintenance)
DELETE FROM event_hour
WHERE partition = %(partition)s AND start >= %(day)s AND start < %(day)s + interval '24 hours'

-- name: delete_hour_sketches_of_day (maintenance)
DELETE FROM event_sketch
WHERE partition = %(partition)s AND tier = 'hour' AND start >= %(day)s AND start < %(day)s + interval '24 hours'

-- name: delete_ids (maintenance)
-- Ids that were stored longer ago than an event still admitted can have been counted. An id made by a clock far off stands
-- under a minute of that clock: it is found on either side of the window, and kept as long as any other.
DELETE FROM event_ids
WHERE partition = %(partition)s AND (minute, position) IN (
    SELECT e.minute, e.position
    FROM partition_state AS s JOIN event_ids AS e ON e.partition = s.partition
    WHERE s.partition = %(partition)s AND s.state = 'owned'
        AND (e.minute < s.admits_since - %(guard)s::interval OR e.minute > s.watermark + interval '1 day')
        AND e.stored_at < s.admits_since - %(guard)s::interval
    LIMIT %(limit)s
)

-- name: delete_resolved_dead_letters (maintenance)
-- A dead letter that nobody has resolved is never removed: its event is not counted anywhere.
DELETE FROM dead_letter WHERE id IN (
    SELECT id FROM dead_letter
    WHERE partition = %(partition)s AND created_at < %(horizon)s::timestamptz - %(age)s::interval
        AND resolved_at < %(horizon)s::timestamptz - %(age)s::interval
    LIMIT %(limit)s
)

-- name: delete_conflicts (maintenance)
-- Ids grow with time, so the first conflict that is young enough ends the search.
DELETE FROM event_conflict WHERE id IN (
    SELECT id FROM event_conflict
    WHERE partition = %(partition)s AND id < coalesce(
        (
            SELECT id FROM event_conflict
            WHERE partition = %(partition)s AND created_at >= %(horizon)s::timestamptz - %(age)s::interval
            ORDER BY id LIMIT 1
        ),
        9223372036854775807
    )
    ORDER BY id LIMIT %(limit)s
)
