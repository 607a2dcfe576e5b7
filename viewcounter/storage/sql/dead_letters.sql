-- Dead letters: written by flushes, listed, replayed and discarded by operators; and what they may do to a partition.

-- name: insert_dead_letters (flush)
-- The same event once more is the same row, whatever became of it before.
INSERT INTO dead_letter AS t (
    partition, position, reason, sqlstate, detail, event_id, content, video_id, event_type_id, occurred_at, value,
    payload, attempts
)
SELECT %(partition)s, u.* FROM unnest(
    %(positions)s::text[], %(reasons)s::text[], %(sqlstates)s::text[], %(details)s::text[], %(event_ids)s::uuid[],
    %(contents)s::bigint[], %(video_ids)s::text[], %(type_ids)s::integer[], %(occurred)s::timestamptz[],
    %(values)s::bigint[], %(payloads)s::bytea[], %(attempts)s::integer[]
) AS u
ON CONFLICT (partition, event_id, content) DO UPDATE SET
    position = excluded.position, reason = excluded.reason, sqlstate = excluded.sqlstate, detail = excluded.detail,
    payload = excluded.payload, attempts = t.attempts + excluded.attempts, state = 'new', actor = '',
    refused_at = now(), resolved_at = NULL

-- name: lock_window (flush)
-- Before the compare-and-set of a flush that has dead letters: are they too many?
SELECT
    CASE WHEN window_started_at > now() - make_interval(secs => %(window_seconds)s) THEN window_read ELSE 0 END AS read,
    CASE WHEN window_started_at > now() - make_interval(secs => %(window_seconds)s) THEN window_dead ELSE 0 END AS dead,
    dead_run AS run, dead_letter_allowance AS allowance
FROM partition_state
WHERE partition = %(partition)s AND position = %(old_position)s AND epoch = %(epoch)s AND state = %(state)s
FOR UPDATE

-- name: stop_partition (flush)
-- Only where the flush that was refused would have applied: a partition that has gone on is not stopped for old news.
UPDATE partition_state
SET state = 'stopped', stop_reason = %(reason)s, stop_detail = %(detail)s, stopped_at = now(), updated_at = now()
WHERE partition = %(partition)s AND position = %(old_position)s AND epoch = %(epoch)s AND state = 'owned'

-- name: resume_partition (maintenance)
UPDATE partition_state
SET state = 'owned', stop_reason = '', stop_detail = '', stopped_at = NULL, resumed_by = %(actor)s, updated_at = now(),
    window_started_at = now(), window_read = 0, window_dead = 0, dead_run = 0, dead_letter_allowance = %(allowance)s
WHERE partition = %(partition)s AND epoch = %(epoch)s AND state = 'stopped'

-- name: read_stopped (point)
SELECT partition, position, stop_reason, stop_detail, stopped_at
FROM partition_state
WHERE partition = ANY(%(partitions)s) AND state = 'stopped'

-- name: count_new (report)
SELECT u.partition, count(d.id) AS count
FROM unnest(%(partitions)s::smallint[]) AS u (partition)
LEFT JOIN dead_letter AS d ON d.partition = u.partition AND d.state = 'new'
GROUP BY u.partition

-- name: list_dead_letters (report)
-- Newest first. The place of a row never changes, so pages neither repeat nor skip one.
SELECT
    id, partition, position, reason, sqlstate, detail, event_id, video_id, event_type_id, occurred_at, value, attempts,
    state, actor, created_at, refused_at, resolved_at, octet_length(payload) AS payload_bytes
FROM dead_letter
WHERE partition = ANY(%(partitions)s)
    AND (%(state)s::text IS NULL OR state = %(state)s)
    AND (%(reason)s::text IS NULL OR reason = %(reason)s)
    AND (%(video_id)s::text IS NULL OR video_id = %(video_id)s)
    AND (%(start)s::timestamptz IS NULL OR created_at >= %(start)s)
    AND (%(end)s::timestamptz IS NULL OR created_at < %(end)s)
    AND (
        %(before_at)s::timestamptz IS NULL
        OR (created_at, partition, id) < (%(before_at)s, %(before_partition)s::smallint, %(before_id)s::bigint)
    )
ORDER BY created_at DESC, partition DESC, id DESC
LIMIT %(limit)s

-- name: read_dead_letter (point)
SELECT
    id, partition, position, reason, sqlstate, detail, event_id, video_id, event_type_id, occurred_at, value, attempts,
    state, actor, created_at, refused_at, resolved_at, octet_length(payload) AS payload_bytes, payload
FROM dead_letter
WHERE id = %(id)s AND partition = ANY(%(partitions)s)

-- name: lock_partitions_of_dead_letters (maintenance)
-- Before the dead letters themselves, as flushes do it; and against movers: a partition that is here stays here.
SELECT partition FROM partition_state
WHERE partition IN (SELECT partition FROM dead_letter WHERE id = ANY(%(ids)s) AND partition = ANY(%(partitions)s))
ORDER BY partition
FOR SHARE

-- name: lock_dead_letters (maintenance)
-- In the order of ids, as every other one who locks some. A flush that refuses one of them again waits for our verdict.
SELECT
    d.id, d.partition, d.position, d.reason, d.sqlstate, d.detail, d.event_id, d.video_id, d.event_type_id, d.occurred_at,
    d.value, d.attempts, d.state, d.actor, d.created_at, d.refused_at, d.resolved_at,
    octet_length(d.payload) AS payload_bytes, d.payload, s.admits_since,
    s.epoch = u.epoch AND s.state NOT IN ('incoming', 'moved') AS is_here,
    s.state = 'held' OR s.maintenance_held_until > now() AS is_being_moved
FROM dead_letter AS d
JOIN partition_state AS s USING (partition)
JOIN unnest(%(partitions)s::smallint[], %(epochs)s::bigint[]) AS u (partition, epoch) USING (partition)
WHERE d.id = ANY(%(ids)s)
ORDER BY d.id
FOR UPDATE OF d

-- name: resolve_dead_letters (maintenance)
UPDATE dead_letter SET state = %(state)s, actor = %(actor)s, resolved_at = now() WHERE id = ANY(%(ids)s)
