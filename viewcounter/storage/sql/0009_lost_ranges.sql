-- How an operator closed a loss. `accepted`: the events are lost for good. `salvaged`: they were found and have been applied.
ALTER TABLE log_loss
    ADD COLUMN outcome text NOT NULL DEFAULT '' CHECK (outcome IN ('', 'accepted', 'salvaged')),
    ADD CONSTRAINT log_loss_closed CHECK ((outcome = '') = (closed_at IS NULL));
CREATE INDEX log_loss_partition ON log_loss (partition, id);

-- The ranges of `log_loss` that are not salvaged, newest first: `after,through,seconds since 1970,is open`, separated by
-- spaces; at most 64. Every read has the row of its partition, so it knows in its own snapshot whether a position that a
-- client names is lost. A trigger keeps it, so that it is right whatever release writes `log_loss`.
ALTER TABLE partition_state ADD COLUMN lost text NOT NULL DEFAULT '';

CREATE FUNCTION refresh_lost_ranges() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE partition_state SET lost = coalesce((
        SELECT string_agg(
            concat_ws(',', l.after_position, l.through_position, extract(epoch FROM l.found_at)::bigint, l.closed_at IS NULL),
            ' ' ORDER BY l.id DESC
        )
        FROM (
            SELECT * FROM log_loss WHERE partition = NEW.partition AND outcome <> 'salvaged' ORDER BY id DESC LIMIT 64
        ) AS l
    ), '')
    WHERE partition = NEW.partition;
    RETURN NULL;
END
$$;
CREATE TRIGGER refresh_lost_ranges AFTER INSERT OR UPDATE ON log_loss
    FOR EACH ROW EXECUTE FUNCTION refresh_lost_ranges();

-- Rows of the release before.
UPDATE log_loss SET detail = detail;
