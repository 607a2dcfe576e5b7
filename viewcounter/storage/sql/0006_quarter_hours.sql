-- Days in parts: how much of a day had happened by the end of each quarter hour. `slots` are the quarters with events, 0 to 95
-- from midnight UTC, ascending; at the same place `counts` and `sums` are running sums up to and with that quarter, `mins` and
-- `maxs` those of the quarter alone. So the part of a day before quarter k is at place width_bucket(k - 1, slots).
--
-- `sums`, `mins` and `maxs` are NULL where all values of the day are equal: then they follow from `counts` and `min`.
-- `resolution` is in minutes: 15; 60 where only hours were kept when the row was made; NULL for a row of an earlier
-- release, which is not split.
ALTER TABLE event_day
    ADD COLUMN resolution smallint,
    ADD COLUMN slots smallint[],
    ADD COLUMN counts bigint[],
    ADD COLUMN sums bigint[],
    ADD COLUMN mins bigint[],
    ADD COLUMN maxs bigint[],
    -- Compressed inside the row before they are moved out of it: a year of days is read without a second look-up for each.
    ALTER COLUMN counts SET STORAGE MAIN,
    ALTER COLUMN sums SET STORAGE MAIN,
    ALTER COLUMN mins SET STORAGE MAIN,
    ALTER COLUMN maxs SET STORAGE MAIN,
    ADD CONSTRAINT event_day_split CHECK (
        resolution IN (15, 60) AND slots IS NOT NULL AND cardinality(counts) = cardinality(slots)
        AND (sums IS NULL OR cardinality(sums) = cardinality(slots))
        AND (sums IS NULL) = (mins IS NULL) AND (sums IS NULL) = (maxs IS NULL)
        OR resolution IS NULL AND slots IS NULL AND counts IS NULL
    ) NOT VALID;

-- A recount may correct a quarter hour of a day whose sum is right.
ALTER TABLE correction
    DROP CONSTRAINT correction_tier_check,
    ADD CONSTRAINT correction_tier_check CHECK (tier IN ('minute', 'quarter', 'hour', 'day', 'total')) NOT VALID;
