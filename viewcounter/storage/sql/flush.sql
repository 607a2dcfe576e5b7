-- The statements of a flush, in the order in which they run. One transaction; see storage/flush.py.

-- name: advance_position (flush)
-- The compare-and-set that makes the whole flush exactly once: it misses when another worker was faster, when
-- the partition has moved (epoch) or is held, and then nothing of this flush happens. `state` is owned, or incoming where
-- a mover brings its copy up to date. Nor when retention has meanwhile
-- forgotten ids that the verdict about the oldest event needed (`oldest` is null for a flush that counts nothing).
-- The watermark never passes this server's clock; one that did, by a minute and more, is put right.
UPDATE partition_state
SET position = %(new_position)s, updated_at = now(),
    watermark = CASE WHEN watermark > now() + interval '1 minute' THEN least(%(watermark)s, now())
        ELSE greatest(watermark, least(%(watermark)s, now())) END,
    window_started_at = CASE WHEN window_started_at > now() - make_interval(secs => %(window_seconds)s) THEN window_started_at ELSE now() END,
    window_read = CASE WHEN window_started_at > now() - make_interval(secs => %(window_seconds)s) THEN window_read ELSE 0 END + %(read)s,
    window_dead = CASE WHEN window_started_at > now() - make_interval(secs => %(window_seconds)s) THEN window_dead ELSE 0 END + %(dead)s,
    dead_run = CASE WHEN %(run_goes_on)s THEN dead_run ELSE 0 END + %(run)s,
    dead_letter_allowance = dead_letter_allowance - %(allowed)s
WHERE partition = %(partition)s AND position = %(old_position)s AND epoch = %(epoch)s AND state = %(state)s
    AND admits_since <= coalesce(%(oldest)s::timestamptz, 'infinity')
RETURNING rolled_through

-- name: copy_raw_events (flush)
-- Binary rows laid out by storage/binary.py.
COPY raw_event (partition, event_type_id, received_at, occurred_at, value, viewer, event_id, video_id)
FROM STDIN (FORMAT BINARY)

-- name: insert_event_ids (flush)
INSERT INTO event_ids (partition, minute, position, ids, contents)
SELECT %(partition)s, u.minute, %(position)s, u.ids, u.contents
FROM unnest(%(minutes)s::timestamptz[], %(ids)s::bytea[], %(contents)s::bytea[]) AS u (minute, ids, contents)

-- name: ensure_event_types (flush)
-- A type added in admin reaches a shard with its first event.
INSERT INTO event_type (id, name)
SELECT * FROM unnest(%(ids)s::smallint[], %(names)s::text[])
ON CONFLICT (id) DO NOTHING

-- name: ensure_videos (flush)
-- An unknown video is counted at once; the catalogue gives it a title later. Returns those that were not here.
INSERT INTO video (video_id, partition)
SELECT u.video_id, %(partition)s FROM unnest(%(video_ids)s::text[]) AS u (video_id)
ON CONFLICT (video_id) DO NOTHING
RETURNING video_id

-- name: add_minutes (flush)
INSERT INTO event_minute AS t (partition, video_id, event_type_id, start, count, sum, min, max)
SELECT %(partition)s, u.* FROM unnest(
    %(video_ids)s::text[], %(type_ids)s::smallint[], %(starts)s::timestamptz[],
    %(counts)s::bigint[], %(sums)s::bigint[], %(mins)s::bigint[], %(maxs)s::bigint[]
) AS u
ON CONFLICT (partition, video_id, event_type_id, start) DO UPDATE SET
    count = t.count + excluded.count, sum = t.sum + excluded.sum,
    min = least(t.min, excluded.min), max = greatest(t.max, excluded.max)

-- name: add_totals (flush)
INSERT INTO event_total AS t (partition, video_id, event_type_id, count, sum, min, max)
SELECT %(partition)s, u.* FROM unnest(
    %(video_ids)s::text[], %(type_ids)s::smallint[],
    %(counts)s::bigint[], %(sums)s::bigint[], %(mins)s::bigint[], %(maxs)s::bigint[]
) AS u
ON CONFLICT (partition, video_id, event_type_id) DO UPDATE SET
    count = t.count + excluded.count, sum = t.sum + excluded.sum,
    min = least(t.min, excluded.min), max = greatest(t.max, excluded.max)

-- name: add_ledger (flush)
INSERT INTO ledger AS t (partition, hour, received, counted, duplicate, conflict, dead_lettered, digest)
SELECT %(partition)s, u.* FROM unnest(
    %(hours)s::timestamptz[], %(received)s::bigint[], %(counted)s::bigint[], %(duplicate)s::bigint[],
    %(conflict)s::bigint[], %(dead_lettered)s::bigint[], %(digests)s::numeric[]
) AS u
ON CONFLICT (partition, hour) DO UPDATE SET
    received = t.received + excluded.received, counted = t.counted + excluded.counted,
    duplicate = t.duplicate + excluded.duplicate, conflict = t.conflict + excluded.conflict,
    dead_lettered = t.dead_lettered + excluded.dead_lettered,
    digest = mod(t.digest + excluded.digest, 18446744073709551616)

-- name: mark_dirty (flush)
-- Late events: buckets that were already rolled. Fresh ones need no mark, `rolled_through` excludes them.
INSERT INTO rollup_dirty (partition, tier, video_id, event_type_id, start)
SELECT DISTINCT %(partition)s::smallint, tier.name, u.video_id, u.type_id, date_trunc(tier.name, u.start, 'UTC')
FROM unnest(%(video_ids)s::text[], %(type_ids)s::smallint[], %(starts)s::timestamptz[])
    AS u (video_id, type_id, start)
CROSS JOIN (VALUES ('hour', interval '1 hour'), ('day', interval '24 hours')) AS tier (name, width)
WHERE date_trunc(tier.name, u.start, 'UTC') + tier.width <= %(rolled_through)s
ON CONFLICT DO NOTHING
