-- Putting the ids of a minute together that many flushes have left in small pieces; see storage/id_pieces.py.

-- name: merge_small_pieces (flush)
-- The small pieces of each minute become the last of them. Pieces of as many ids as `small_ids` stay as they are, so an id is
-- written again only until it lies in one of those.
WITH small AS (
    SELECT minute, position, ids, contents,
        coalesce(part_positions, ARRAY[position]) AS part_positions,
        coalesce(part_sizes, ARRAY[octet_length(contents) / 8]) AS part_sizes,
        row_number() OVER (
            PARTITION BY minute
            ORDER BY split_part(position, '-', 1)::numeric, split_part(position, '-', 2)::numeric
        ) AS place
    FROM event_ids
    WHERE partition = %(partition)s AND minute = ANY (%(minutes)s::timestamptz[])
        AND octet_length(contents) < 8 * %(small_ids)s
), joined AS (
    SELECT minute, max(place) AS last_place,
        string_agg(ids, '' ORDER BY place) AS ids, string_agg(contents, '' ORDER BY place) AS contents
    FROM small GROUP BY minute HAVING count(*) > 1
), parts AS (
    SELECT s.minute,
        array_agg(p.position ORDER BY s.place, p.number) AS positions, array_agg(p.size ORDER BY s.place, p.number) AS sizes
    FROM small AS s
    CROSS JOIN LATERAL unnest(s.part_positions, s.part_sizes) WITH ORDINALITY AS p (position, size, number)
    GROUP BY s.minute
), gone AS (
    DELETE FROM event_ids AS e
    USING small AS s JOIN joined AS j ON j.minute = s.minute AND s.place < j.last_place
    WHERE e.partition = %(partition)s AND e.minute = s.minute AND e.position = s.position
    RETURNING 1
), kept AS (
    UPDATE event_ids AS e
    SET ids = j.ids, contents = j.contents, part_positions = p.positions, part_sizes = p.sizes
    FROM joined AS j
    JOIN small AS s ON s.minute = j.minute AND s.place = j.last_place
    JOIN parts AS p ON p.minute = j.minute
    WHERE e.partition = %(partition)s AND e.minute = s.minute AND e.position = s.position
    RETURNING 1
)
SELECT (SELECT count(*) FROM gone) AS gone, (SELECT count(*) FROM kept) AS kept
