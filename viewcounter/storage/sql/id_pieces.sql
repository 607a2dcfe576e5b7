-- Putting the ids of a minute together that many flushes have left in small pieces; see storage/id_pieces.py.

-- name: merge_small_pieces (flush)
-- The small pieces of each minute become the last of them. Pieces of as many ids as `small_ids` stay as they are, so an id is
-- written again only until it lies in one of those. Deleted and inserted again as one: a join of the pieces with the table,
-- whose statistics know nothing of the last minutes, may take the square of their number.
WITH crowded AS MATERIALIZED (
    SELECT minute FROM event_ids
    WHERE partition = %(partition)s AND minute = ANY (%(minutes)s::timestamptz[])
        AND octet_length(contents) < 8 * %(small_ids)s
    GROUP BY minute HAVING count(*) > 1
), gone AS (
    DELETE FROM event_ids
    WHERE partition = %(partition)s AND minute = ANY (ARRAY(SELECT minute FROM crowded))
        AND octet_length(contents) < 8 * %(small_ids)s
    RETURNING minute, position, stored_at, ids, contents, coalesce(part_positions, ARRAY[position]) AS part_positions,
        coalesce(part_sizes, ARRAY[octet_length(contents) / 8]) AS part_sizes
), small AS (
    SELECT *, row_number() OVER (
        PARTITION BY minute ORDER BY split_part(position, '-', 1)::numeric, split_part(position, '-', 2)::numeric
    ) AS place
    FROM gone
), pieces AS (
    SELECT minute, (array_agg(position ORDER BY place DESC))[1] AS position, max(stored_at) AS stored_at,
        string_agg(ids, '' ORDER BY place) AS ids, string_agg(contents, '' ORDER BY place) AS contents
    FROM small GROUP BY minute
), parts AS (
    SELECT s.minute,
        array_agg(p.position ORDER BY s.place, p.number) AS positions, array_agg(p.size ORDER BY s.place, p.number) AS sizes
    FROM small AS s
    CROSS JOIN LATERAL unnest(s.part_positions, s.part_sizes) WITH ORDINALITY AS p (position, size, number)
    GROUP BY s.minute
), merged AS (
    INSERT INTO event_ids (partition, minute, position, stored_at, ids, contents, part_positions, part_sizes)
    SELECT %(partition)s, minute, pieces.position, pieces.stored_at, pieces.ids, pieces.contents, parts.positions, parts.sizes
    FROM pieces JOIN parts USING (minute)
    RETURNING 1
)
SELECT (SELECT count(*) FROM gone) - (SELECT count(*) FROM merged) AS gone
