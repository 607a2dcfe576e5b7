-- The clock that deletion by age counts from; see storage/deletion_clock.py.

-- name: advance_deletion_clock (maintenance)
-- A machine that has run before vouches for the time it has been up since; a machine that is new here vouches for nothing yet.
-- What it may gain on the time it vouches for is bounded, so one that was idle for days has no credit to spend.
INSERT INTO deletion_clock AS c (machine, up_seconds, trusted_at)
SELECT %(machine)s, %(up_seconds)s, coalesce(max(trusted_at), now()) FROM deletion_clock
ON CONFLICT (machine) DO UPDATE SET
    up_seconds = excluded.up_seconds,
    trusted_at = greatest(
        excluded.trusted_at,
        least(
            now(),
            c.trusted_at + make_interval(secs => greatest(excluded.up_seconds - c.up_seconds, 0))
                + least(make_interval(secs => greatest(excluded.up_seconds - c.up_seconds, 0)), %(gain)s::interval)
        )
    )
RETURNING least(trusted_at, now()) AS horizon, extract(epoch FROM now() - trusted_at)::float8 AS behind_seconds

-- name: forget_machines (maintenance)
DELETE FROM deletion_clock
WHERE machine <> '' AND trusted_at < (SELECT max(trusted_at) FROM deletion_clock) - interval '30 days'

-- name: accept_deletion_clock (maintenance)
INSERT INTO deletion_clock AS c (machine, up_seconds, trusted_at) VALUES ('', 0, now())
ON CONFLICT (machine) DO UPDATE SET trusted_at = greatest(c.trusted_at, excluded.trusted_at)

-- name: read_deletion_clock (maintenance)
SELECT least(max(trusted_at), now()) AS horizon,
    coalesce(extract(epoch FROM now() - max(trusted_at)), 0)::float8 AS behind_seconds
FROM deletion_clock
