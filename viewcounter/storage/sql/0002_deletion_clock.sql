-- Up to when deletion by age may count, whatever the clock of this server says. See storage/deletion_clock.py.

-- One row for each machine that has run retention (`machine` is the id of its boot), and one for the last time that an operator
-- accepted the clock. `up_seconds` is how long the machine had been up when `trusted_at` was written; the latest `trusted_at` of
-- all rows counts. The first machine takes the clock as it is.
CREATE TABLE deletion_clock (
    machine text PRIMARY KEY,
    up_seconds double precision NOT NULL,
    trusted_at timestamptz NOT NULL
);
