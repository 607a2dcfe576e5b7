-- What became of one event.

-- name: receipt_of_event (range)
-- Everything a shard knows about an id, and what it has applied of the partition, in one snapshot. `minute` is the one that
-- the id is kept under, null if the asker cannot tell: then it is the one in which the raw event happened. An id is looked
-- for in its packed minute by a plain search of bytes; what that finds across two ids is not one. In a piece that was put
-- together of several, the flush it came with is the first part that reaches it.
SELECT asked.partition, s.epoch, s.position, s.watermark, s.state, s.lost,
    r.occurred_at, r.received_at, i.position AS counted_position, c.position AS conflict_position,
    d.position AS letter_position, d.state AS letter_state, d.reason AS letter_reason
FROM (VALUES (%(partition)s::smallint)) AS asked (partition)
LEFT JOIN partition_state AS s ON s.partition = asked.partition
LEFT JOIN LATERAL (
    SELECT e.occurred_at, e.received_at
    FROM raw_event AS e
    WHERE e.partition = asked.partition AND e.video_id = %(video_id)s AND e.event_id = %(event_id)s
        AND (%(occurred_at)s::timestamptz IS NULL OR e.occurred_at = %(occurred_at)s)
    LIMIT 1
) AS r ON TRUE
LEFT JOIN LATERAL (
    SELECT coalesce(part.position, b.position) AS position
    FROM event_ids AS b
    CROSS JOIN LATERAL generate_series(1, octet_length(b.ids), 16) AS place (start)
    LEFT JOIN LATERAL (
        SELECT p.position
        FROM (
            SELECT u.position, sum(u.size) OVER (ORDER BY u.number) AS through
            FROM unnest(b.part_positions, b.part_sizes) WITH ORDINALITY AS u (position, size, number)
        ) AS p
        WHERE 16 * p.through >= place.start
        ORDER BY p.through
        LIMIT 1
    ) AS part ON TRUE
    WHERE b.partition = asked.partition
        AND b.minute = coalesce(%(minute)s::timestamptz, date_trunc('minute', r.occurred_at))
        AND position(uuid_send(%(event_id)s) IN b.ids) > 0
        AND substring(b.ids FROM place.start FOR 16) = uuid_send(%(event_id)s)
    LIMIT 1
) AS i ON TRUE
LEFT JOIN LATERAL (
    SELECT e.position
    FROM event_conflict AS e
    WHERE e.partition = asked.partition AND e.video_id = %(video_id)s AND e.event_id = %(event_id)s
    ORDER BY e.id DESC
    LIMIT 1
) AS c ON TRUE
LEFT JOIN LATERAL (
    SELECT l.position, l.state, l.reason
    FROM dead_letter AS l
    WHERE l.partition = asked.partition AND l.video_id = %(video_id)s AND l.event_id = %(event_id)s
    ORDER BY l.refused_at DESC, l.id DESC
    LIMIT 1
) AS d ON TRUE
