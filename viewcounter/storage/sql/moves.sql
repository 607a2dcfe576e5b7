-- What a mover does to the rows of a partition's state on its two shards. Each statement names the move's token, or an
-- epoch that is over for good, so that a mover which was replaced changes nothing; see storage/moves.py. A mover that takes
-- over replaces no token larger than its own: that would be of a mover that came after it.

-- name: read_row (maintenance)
SELECT * FROM partition_state WHERE partition = %(partition)s

-- name: hold_maintenance (maintenance)
-- Takes the source over. Waits for the lock on the row: a rollup or flush that began before is in the copy.
UPDATE partition_state
SET move_token = %(token)s, maintenance_held_until = now() + make_interval(secs => %(seconds)s)
WHERE partition = %(partition)s AND epoch = %(epoch)s AND state IN ('owned', 'held')
    AND (move_token IS NULL OR move_token <= %(token)s)

-- name: continue_maintenance_hold (maintenance)
-- The same, but only if nothing can have come between: the hold of the mover before has not run out.
UPDATE partition_state
SET move_token = %(token)s, maintenance_held_until = now() + make_interval(secs => %(seconds)s)
WHERE partition = %(partition)s AND epoch = %(epoch)s AND state IN ('owned', 'held') AND maintenance_held_until > now()
    AND move_token <= %(token)s

-- name: renew_maintenance_hold (maintenance)
UPDATE partition_state
SET maintenance_held_until = now() + make_interval(secs => %(seconds)s)
WHERE partition = %(partition)s AND move_token = %(token)s AND maintenance_held_until > now()

-- name: hold_source (maintenance)
-- No flush passes from here on. What is asked of the hold of maintenance makes the copy equal to the source still.
UPDATE partition_state SET state = 'held', updated_at = now()
WHERE partition = %(partition)s AND epoch = %(epoch)s AND state IN ('owned', 'held')
    AND move_token = %(token)s AND maintenance_held_until > now()
RETURNING *

-- name: unhold_source (maintenance)
UPDATE partition_state SET state = 'owned', updated_at = now()
WHERE partition = %(partition)s AND epoch = %(epoch)s AND state = 'held' AND move_token = %(token)s

-- name: free_source (maintenance)
-- The move is aborted: everything goes on as before it. The token stays, as the epoch does: movers of this move that wake
-- up later must not take the source over once more.
UPDATE partition_state
SET state = CASE WHEN state = 'held' THEN 'owned' ELSE state END, updated_at = now(),
    move_token = %(token)s, maintenance_held_until = '1970-01-01 00:00+00'
WHERE partition = %(partition)s AND epoch = %(epoch)s AND state <> 'moved'
    AND (move_token IS NULL OR move_token <= %(token)s)

-- name: release_source (maintenance)
-- In whatever state it is: after a failover it may have forgotten that it was held. The topology has given the partition to
-- the target, so this epoch of the source is over, whichever mover says so and however late.
UPDATE partition_state
SET state = 'moved', updated_at = now(), move_token = NULL, maintenance_held_until = '1970-01-01 00:00+00'
WHERE partition = %(partition)s AND epoch = %(epoch)s AND state <> 'moved'

-- name: begin_copy (maintenance)
-- Takes the target over for a new copy. Never the row of a partition that the target owns, or owned after this move began;
-- nor one of this very epoch that is `moved`: the move was aborted.
INSERT INTO partition_state AS s (partition, epoch, state, move_token)
VALUES (%(partition)s, %(epoch)s, 'incoming', %(token)s)
ON CONFLICT (partition) DO UPDATE
SET epoch = excluded.epoch, position = DEFAULT, state = 'incoming', owner = NULL, move_token = excluded.move_token,
    updated_at = now()
WHERE (s.epoch < excluded.epoch AND s.state IN ('incoming', 'moved'))
    OR (s.epoch = excluded.epoch AND s.state IN ('incoming', 'owned') AND s.move_token <= excluded.move_token)

-- name: take_copy_over (maintenance)
-- A copy that is complete goes on under another mover. One that was activated, but not flipped to, is a copy again.
UPDATE partition_state SET state = 'incoming', move_token = %(token)s, updated_at = now()
WHERE partition = %(partition)s AND epoch = %(epoch)s AND state IN ('incoming', 'owned') AND move_token <= %(token)s

-- name: check_copy (maintenance)
-- In each transaction that writes to a copy.
SELECT FROM partition_state
WHERE partition = %(partition)s AND epoch = %(epoch)s AND state = 'incoming' AND move_token = %(token)s
FOR SHARE

-- name: check_moved_away (maintenance)
-- In each transaction that removes what a partition left behind, or an aborted move brought.
SELECT FROM partition_state
WHERE partition = %(partition)s AND epoch = %(epoch)s AND state = 'moved'
FOR SHARE

-- name: retire_copy (maintenance)
-- The move is aborted: the copy is nobody's. Also where none was begun: a mover that wakes up later must not begin one.
INSERT INTO partition_state AS s (partition, epoch, state)
VALUES (%(partition)s, %(epoch)s, 'moved')
ON CONFLICT (partition) DO UPDATE
SET epoch = excluded.epoch, state = 'moved', move_token = NULL, updated_at = now()
WHERE (s.epoch < excluded.epoch AND s.state IN ('incoming', 'moved'))
    OR (s.epoch = excluded.epoch AND s.state IN ('incoming', 'owned'))

-- name: own_arrival (maintenance)
-- The topology names this shard. A failover may have made it forget that it was activated.
UPDATE partition_state SET state = 'owned', move_token = NULL, updated_at = now()
WHERE partition = %(partition)s AND epoch = %(epoch)s AND state IN ('incoming', 'owned')
    AND (move_token IS NULL OR move_token <= %(token)s)

-- name: find_row (maintenance)
SELECT epoch, state, move_token FROM partition_state WHERE partition = %(partition)s

-- name: read_copy (point)
SELECT epoch, position, state, move_token FROM partition_state WHERE partition = %(partition)s

-- name: limit_raw_claims (maintenance)
-- Days older than the oldest one here are about to be made for a partition that comes: the others have nothing in them.
UPDATE partition_state SET raw_since = greatest(raw_since, %(oldest_day)s)
WHERE partition <> %(partition)s AND state <> 'moved'

-- name: list_columns (maintenance)
-- The columns of a table that a writer of a row sets.
SELECT attname AS name FROM pg_attribute
WHERE attrelid = %(table)s::regclass AND attnum > 0 AND NOT attisdropped AND attidentity = '' AND attgenerated = ''
ORDER BY attnum

-- name: estimate_raw_rows (maintenance)
-- The ledger says how many raw events there are, without counting them.
SELECT coalesce(sum(counted), 0)::bigint AS row_count FROM ledger WHERE partition = %(partition)s AND hour >= %(since)s

-- name: read_channels (maintenance)
-- Channels of a partition's videos, page by page.
SELECT c.channel_id, c.title, c.revision
FROM channel AS c
WHERE c.channel_id > %(after)s
    AND EXISTS (SELECT FROM video AS v WHERE v.channel_id = c.channel_id AND v.partition = %(partition)s)
ORDER BY c.channel_id LIMIT %(limit)s

-- name: read_event_types (maintenance)
SELECT id, name FROM event_type

-- name: list_relations (maintenance)
-- Where the rows of a table lie: the table, or its day partitions; with their pages.
SELECT c.oid::regclass::text AS name, pg_relation_size(c.oid) / current_setting('block_size')::int AS page_count
FROM pg_class AS c
WHERE c.relkind = 'r' AND (
    c.oid = %(table)s::regclass OR c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = %(table)s::regclass)
)
ORDER BY 1

-- name: read_sizes (report)
-- How large partitions are, by what was counted in them.
SELECT u.partition, coalesce(sum(l.counted), 0) AS event_count
FROM unnest(%(partitions)s::smallint[]) AS u (partition)
LEFT JOIN ledger AS l ON l.partition = u.partition
GROUP BY u.partition
