-- The statements of a flush, in the order in which they run. One transaction; see storage/flush.py.

-- name: lock_free_rows (flush)
-- Rows in ascending order, as every statement locks several of them. One that another transaction holds is left out, so
-- that the other partitions of the shard need not wait for it.
SELECT partition FROM partition_state WHERE partition = ANY(%(partitions)s::smallint[])
ORDER BY partition FOR NO KEY UPDATE SKIP LOCKED

-- name: advance_positions (flush)
-- The compare-and-set that makes the whole flush exactly once: it misses a partition when another worker was faster, when
-- the partition has moved (epoch) or is held, or the batch is of another session of the log, and then nothing of its part of this flush happens. `state` is owned, or
-- incoming where a mover brings its copy up to date. It misses too when retention has meanwhile
-- forgotten ids that the verdict about the oldest event needed (`oldest` is null for a batch that counts nothing).
-- The watermark never passes this server's clock; one that did, by a minute and more, is put right.
UPDATE partition_state AS s
SET position = u.new_position, producers = u.producers, updated_at = now(),
    watermark = CASE WHEN s.watermark > now() + interval '1 minute' THEN least(u.watermark, now())
        ELSE greatest(s.watermark, least(u.watermark, now())) END,
    window_started_at = CASE WHEN s.window_started_at > now() - make_interval(secs => %(window_seconds)s) THEN s.window_started_at ELSE now() END,
    window_read = CASE WHEN s.window_started_at > now() - make_interval(secs => %(window_seconds)s) THEN s.window_read ELSE 0 END + u.read,
    window_dead = CASE WHEN s.window_started_at > now() - make_interval(secs => %(window_seconds)s) THEN s.window_dead ELSE 0 END + u.dead,
    dead_run = CASE WHEN u.run_goes_on THEN s.dead_run ELSE 0 END + u.run,
    dead_letter_allowance = s.dead_letter_allowance - u.allowed
FROM unnest(
    %(partitions)s::smallint[], %(epochs)s::bigint[], %(states)s::text[], %(old_positions)s::text[],
    %(new_positions)s::text[], %(watermarks)s::timestamptz[], %(oldest)s::timestamptz[], %(read)s::bigint[],
    %(dead)s::bigint[], %(run)s::bigint[], %(run_goes_on)s::boolean[], %(allowed)s::bigint[], %(sessions)s::text[],
    %(producers)s::bytea[]
) AS u (
    partition, epoch, state, old_position, new_position, watermark, oldest, read, dead, run, run_goes_on, allowed, session,
    producers
)
WHERE s.partition = u.partition AND s.position = u.old_position AND s.epoch = u.epoch AND s.state = u.state
    AND s.log_session = u.session
    AND s.admits_since <= coalesce(u.oldest, 'infinity')
RETURNING s.partition, s.rolled_through

-- name: copy_raw_events (flush)
-- Binary rows laid out by storage/binary.py.
COPY raw_event (partition, event_type_id, received_at, occurred_at, value, viewer, event_id, video_id)
FROM STDIN (FORMAT BINARY)

-- name: insert_event_ids (flush)
INSERT INTO event_ids (partition, minute, position, ids, contents)
SELECT * FROM unnest(
    %(partitions)s::smallint[], %(minutes)s::timestamptz[], %(positions)s::text[], %(ids)s::bytea[], %(contents)s::bytea[]
)

-- name: ensure_event_types (flush)
-- A type added in admin reaches a shard with its first event.
INSERT INTO event_type (id, name)
SELECT * FROM unnest(%(ids)s::smallint[], %(names)s::text[])
ON CONFLICT (id) DO NOTHING

-- name: ensure_videos (flush)
-- An unknown video is counted at once; the catalogue gives it a title later. Returns those that were not here.
INSERT INTO video (video_id, partition)
SELECT * FROM unnest(%(video_ids)s::text[], %(partitions)s::smallint[])
ON CONFLICT (video_id) DO NOTHING
RETURNING video_id, partition

-- name: add_minutes (flush)
INSERT INTO event_minute AS t (partition, video_id, event_type_id, start, count, sum, min, max)
SELECT * FROM unnest(
    %(partitions)s::smallint[], %(video_ids)s::text[], %(type_ids)s::smallint[], %(starts)s::timestamptz[],
    %(counts)s::bigint[], %(sums)s::bigint[], %(mins)s::bigint[], %(maxs)s::bigint[]
)
ON CONFLICT (partition, video_id, event_type_id, start) DO UPDATE SET
    count = t.count + excluded.count, sum = t.sum + excluded.sum,
    min = least(t.min, excluded.min), max = greatest(t.max, excluded.max)

-- name: add_totals (flush)
INSERT INTO event_total AS t (partition, video_id, event_type_id, count, sum, min, max)
SELECT * FROM unnest(
    %(partitions)s::smallint[], %(video_ids)s::text[], %(type_ids)s::smallint[],
    %(counts)s::bigint[], %(sums)s::bigint[], %(mins)s::bigint[], %(maxs)s::bigint[]
)
ON CONFLICT (partition, video_id, event_type_id) DO UPDATE SET
    count = t.count + excluded.count, sum = t.sum + excluded.sum,
    min = least(t.min, excluded.min), max = greatest(t.max, excluded.max)

-- name: add_ledger (flush)
INSERT INTO ledger AS t (partition, hour, received, counted, duplicate, conflict, dead_lettered, digest)
SELECT * FROM unnest(
    %(partitions)s::smallint[], %(hours)s::timestamptz[], %(received)s::bigint[], %(counted)s::bigint[], %(duplicate)s::bigint[],
    %(conflict)s::bigint[], %(dead_lettered)s::bigint[], %(digests)s::numeric[]
)
ON CONFLICT (partition, hour) DO UPDATE SET
    received = t.received + excluded.received, counted = t.counted + excluded.counted,
    duplicate = t.duplicate + excluded.duplicate, conflict = t.conflict + excluded.conflict,
    dead_lettered = t.dead_lettered + excluded.dead_lettered,
    digest = mod(t.digest + excluded.digest, 18446744073709551616)

-- name: mark_dirty (flush)
-- Late events: buckets that were already rolled. Fresh ones need no mark, `rolled_through` excludes them.
INSERT INTO rollup_dirty (partition, tier, video_id, event_type_id, start)
SELECT DISTINCT u.partition, tier.name, u.video_id, u.type_id, date_trunc(tier.name, u.start, 'UTC')
FROM unnest(
    %(partitions)s::smallint[], %(video_ids)s::text[], %(type_ids)s::smallint[], %(starts)s::timestamptz[],
    %(rolled_through)s::timestamptz[]
) AS u (partition, video_id, type_id, start, rolled_through)
CROSS JOIN (VALUES ('hour', interval '1 hour'), ('day', interval '24 hours')) AS tier (name, width)
WHERE date_trunc(tier.name, u.start, 'UTC') + tier.width <= u.rolled_through
ON CONFLICT DO NOTHING
