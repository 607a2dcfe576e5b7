-- Conflicting events: written by the flush, read to find a client that uses ids twice.

-- name: insert_conflicts (flush)
INSERT INTO event_conflict (
    partition, position, event_id, minute, first_content, video_id, event_type_id, occurred_at, value, received_at
)
SELECT %(partition)s, %(position)s, u.* FROM unnest(
    %(event_ids)s::uuid[], %(minutes)s::timestamptz[], %(first_contents)s::numeric[], %(video_ids)s::text[],
    %(type_ids)s::smallint[], %(occurred)s::timestamptz[], %(values)s::bigint[], %(received)s::timestamptz[]
) AS u

-- name: list_conflicts (report)
-- Newest first; see storage/places.py.
SELECT id, partition, position, event_id, video_id, event_type_id, occurred_at, value, received_at, created_at
FROM event_conflict
WHERE partition = ANY(%(partitions)s)
    AND (%(video_id)s::text IS NULL OR video_id = %(video_id)s)
    AND (
        %(before_at)s::timestamptz IS NULL
        OR (created_at, partition, id) < (%(before_at)s, %(before_partition)s::smallint, %(before_id)s::bigint)
    )
ORDER BY created_at DESC, partition DESC, id DESC
LIMIT %(limit)s
