-- What readers ask of a channel: the sum over the videos that now belong to it on this shard, whatever channel they had
-- when the events came. As in reads.sql, each partition asked for comes back with what has been applied of it, and with
-- the revision up to which its videos' channels are known here. The answer for a period is derived in storage/channels.py
-- from the one for videos.

-- name: counts_of_channel (report)
SELECT asked.partition, s.epoch, s.position, s.watermark, s.state, s.lost, k.revision AS catalogue_revision,
    t.event_type_id, t.count
FROM unnest(%(partitions)s::smallint[]) AS asked (partition)
LEFT JOIN partition_state AS s ON s.partition = asked.partition
LEFT JOIN catalogue_cursor AS k ON k.partition = asked.partition
LEFT JOIN (
    SELECT t.partition, t.event_type_id, sum(t.count) AS count
    FROM video AS v JOIN event_total AS t ON t.partition = v.partition AND t.video_id = v.video_id
    WHERE v.channel_id = %(channel_id)s
    GROUP BY t.partition, t.event_type_id
) AS t ON t.partition = asked.partition

-- name: total_of_channel (report)
SELECT asked.partition, s.epoch, s.position, s.watermark, s.state, s.lost, k.revision AS catalogue_revision,
    t.count, t.sum, t.min, t.max
FROM unnest(%(partitions)s::smallint[]) AS asked (partition)
LEFT JOIN partition_state AS s ON s.partition = asked.partition
LEFT JOIN catalogue_cursor AS k ON k.partition = asked.partition
LEFT JOIN (
    SELECT t.partition, sum(t.count) AS count, sum(t.sum) AS sum, min(t.min) AS min, max(t.max) AS max
    FROM video AS v JOIN event_total AS t ON t.partition = v.partition AND t.video_id = v.video_id
    WHERE v.channel_id = %(channel_id)s AND t.event_type_id = %(event_type_id)s
    GROUP BY t.partition
) AS t ON t.partition = asked.partition
