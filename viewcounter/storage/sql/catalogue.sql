-- The shards' copies of videos and channels. Every write keeps the newer revision, so it may run twice, late or
-- beside itself. Channels, which partitions share, are written in the order of their keys, so that writers wait for each
-- other instead of deadlocking.

-- name: read_catalogue_cursor (maintenance)
-- From which revision on the partitions given still miss changes: the lowest of theirs, 0 when one is new here.
SELECT coalesce(min(coalesce(c.revision, 0)), 0) AS revision
FROM unnest(%(partitions)s::smallint[]) AS owned (partition)
LEFT JOIN catalogue_cursor AS c ON c.partition = owned.partition

-- name: read_last_revision (report)
-- A rebuilt control database draws its revisions from here on: older ones would change nothing on this shard.
SELECT greatest(
    (SELECT coalesce(max(revision), 0) FROM catalogue_cursor),
    (SELECT coalesce(max(revision), 0) FROM channel),
    (SELECT coalesce(max(revision), 0) FROM video)
) AS revision

-- name: upsert_channels (maintenance)
-- Channels that videos of this shard belong to.
INSERT INTO channel AS c (channel_id, title, revision)
SELECT u.channel_id, u.title, u.revision
FROM unnest(%(channel_ids)s::text[], %(titles)s::text[], %(revisions)s::bigint[]) AS u (channel_id, title, revision)
ON CONFLICT (channel_id) DO UPDATE SET title = excluded.title, revision = excluded.revision
WHERE c.revision < excluded.revision

-- name: ensure_channels (flush)
-- Channels of videos that a flush has just seen first. Takes no lock on one that is here: flushes run side by side.
INSERT INTO channel (channel_id, title, revision)
SELECT u.channel_id, u.title, u.revision
FROM unnest(%(channel_ids)s::text[], %(titles)s::text[], %(revisions)s::bigint[]) AS u (channel_id, title, revision)
ON CONFLICT (channel_id) DO NOTHING

-- name: update_channels (maintenance)
-- Changed channels, where this shard has them. Locked in the order of their keys: an UPDATE alone takes the order of its
-- join.
WITH changed AS (
    SELECT c.channel_id, u.title, u.revision
    FROM channel AS c
    JOIN unnest(%(channel_ids)s::text[], %(titles)s::text[], %(revisions)s::bigint[])
        AS u (channel_id, title, revision) ON c.channel_id = u.channel_id
    WHERE c.revision < u.revision
    ORDER BY c.channel_id COLLATE "C" FOR NO KEY UPDATE OF c
)
UPDATE channel AS c SET title = changed.title, revision = changed.revision
FROM changed WHERE c.channel_id = changed.channel_id

-- name: upsert_videos (maintenance)
-- Changed videos of partitions of this shard, known to it or not.
INSERT INTO video AS v (video_id, partition, channel_id, title, revision)
SELECT u.video_id, u.partition, u.channel_id, u.title, u.revision
FROM unnest(
    %(video_ids)s::text[], %(partitions)s::smallint[], %(channel_ids)s::text[], %(titles)s::text[],
    %(revisions)s::bigint[]
) AS u (video_id, partition, channel_id, title, revision)
ON CONFLICT (video_id) DO UPDATE
SET channel_id = excluded.channel_id, title = excluded.title, revision = excluded.revision
WHERE v.revision < excluded.revision

-- name: advance_catalogue_cursor (maintenance)
-- Never backwards: a slower copier may finish after a faster one.
INSERT INTO catalogue_cursor AS c (partition, revision)
SELECT u.partition, %(revision)s FROM unnest(%(partitions)s::smallint[]) AS u (partition)
ON CONFLICT (partition) DO UPDATE SET revision = excluded.revision
WHERE c.revision < excluded.revision
