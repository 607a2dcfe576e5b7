-- Conflicting events: written by the flush, read by whoever looks for a client that uses ids twice.

-- name: insert_conflicts (flush)
INSERT INTO event_conflict (
    partition, position, event_id, minute, first_content, video_id, event_type_id, occurred_at, value, received_at
)
SELECT %(partition)s, %(position)s, u.* FROM unnest(
    %(event_ids)s::uuid[], %(minutes)s::timestamptz[], %(first_contents)s::numeric[], %(video_ids)s::text[],
    %(type_ids)s::smallint[], %(occurred)s::timestamptz[], %(values)s::bigint[], %(received)s::timestamptz[]
) AS u

-- name: read_conflicts (range)
SELECT id, event_id, minute, position, first_content, video_id, event_type_id, occurred_at, value, received_at, created_at
FROM event_conflict
WHERE partition = %(partition)s AND id < coalesce(%(before)s::bigint, 9223372036854775807)
ORDER BY id DESC
LIMIT %(limit)s
