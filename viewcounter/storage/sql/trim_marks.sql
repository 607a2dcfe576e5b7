-- How far the log may be trimmed, by this server's clock; see storage/trim_marks.py.

-- name: mark_applied (maintenance)
-- Returns the last marks that are as old as the safety time; older ones are removed, as are those of a clock that was ahead.
WITH given AS (
    SELECT * FROM unnest(%(partitions)s::smallint[], %(positions)s::text[]) AS g (partition, position)
), added AS (
    INSERT INTO trim_mark (partition, marked_at, position)
    SELECT g.partition, now(), g.position FROM given AS g
    WHERE NOT EXISTS (
        SELECT FROM trim_mark AS m
        WHERE m.partition = g.partition AND m.marked_at <= now()
            AND m.marked_at > now() - make_interval(secs => %(safety_seconds)s / 8.0)
    )
    ON CONFLICT DO NOTHING
), ripe AS (
    SELECT DISTINCT ON (m.partition) m.partition, m.marked_at, m.position
    FROM trim_mark AS m JOIN given AS g ON g.partition = m.partition
    WHERE m.marked_at <= now() - make_interval(secs => %(safety_seconds)s)
    ORDER BY m.partition, m.marked_at DESC
), gone AS (
    DELETE FROM trim_mark AS m
    USING given AS g LEFT JOIN ripe AS r ON r.partition = g.partition
    WHERE m.partition = g.partition AND (m.marked_at < r.marked_at OR m.marked_at > now())
)
SELECT partition, position FROM ripe
