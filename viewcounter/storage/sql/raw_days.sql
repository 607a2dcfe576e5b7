-- Day partitions of raw_event.

-- name: list_raw_days (maintenance)
SELECT c.relname AS name FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'raw_event'::regclass ORDER BY 1

-- name: find_raw_edges (maintenance)
-- What is received at or after the older of the two may still be written, or gone into a sketch, and is kept: an hour to
-- which an event may still be added is there from its beginning, and one whose sketches are due until they are made.
SELECT least(min(s.watermark), %(horizon)s) AS watermark,
    least(date_trunc('hour', min(s.admits_since), 'UTC'), min(d.start)) AS admits_since
FROM partition_state AS s
LEFT JOIN sketch_due AS d ON d.partition = s.partition AND d.tier = 'hour'
WHERE s.state <> 'moved'
