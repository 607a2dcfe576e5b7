-- Day partitions of raw_event.

-- name: list_raw_days (maintenance)
SELECT c.relname AS name FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'raw_event'::regclass ORDER BY 1

-- name: find_raw_edges (maintenance)
-- What is received at or after the older of the two may still be written, and is kept.
SELECT min(watermark) AS watermark, min(admits_since) AS admits_since FROM partition_state WHERE state <> 'moved'
