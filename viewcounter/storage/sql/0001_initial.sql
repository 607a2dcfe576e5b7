-- Schema of one shard. The same on every shard; every row that belongs to a partition carries it.

-- One row. `cluster_id` names the control database whose topology this shard is in, NULL until the shard is told. The
-- term is of the primary that wrote here last, raised by the config service after each promotion and replicated
-- with everything else: who was promoted later carries the higher one. The cluster proxy begins no transaction on a
-- primary whose term is below the topology's, or that belongs to another cluster.
CREATE TABLE shard_identity (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    term bigint NOT NULL,
    cluster_id uuid
);
INSERT INTO shard_identity (term) VALUES (0);

CREATE TABLE event_type (
    id smallint PRIMARY KEY,
    name text NOT NULL UNIQUE
);

-- Catalogue rows are copies: the truth is the control database, an older row is replaced by a newer revision.
CREATE TABLE channel (
    channel_id text COLLATE "C" PRIMARY KEY,
    title text NOT NULL DEFAULT '',
    revision bigint NOT NULL DEFAULT 0
);

CREATE TABLE video (
    video_id text COLLATE "C" PRIMARY KEY,
    partition smallint NOT NULL,
    channel_id text COLLATE "C" REFERENCES channel,
    title text NOT NULL DEFAULT '',
    revision bigint NOT NULL DEFAULT 0
);
CREATE INDEX video_partition ON video (partition, video_id);
CREATE INDEX video_channel ON video (channel_id) WHERE channel_id IS NOT NULL;

-- The row everything hangs on: what has been applied, by compare-and-set. Hours and days that end at or before
-- `rolled_through` equal the minutes below them, but for those marked in `rollup_dirty`; later ones are not rolled yet.
-- What retention has left: minutes from `minutes_since` on, hours from `hours_since` on, days for ever. An event that
-- happened before `admits_since` is not counted any more: the id of an earlier copy, or its minutes, may be gone.
-- Raw events received before `raw_since` may be missing even where the shard still has their day: the partition came
-- without them, or the day was made again for one that came with more.
-- `incoming` and `moved` rows are of partitions that another shard owns: nobody reads or counts by them.
CREATE TABLE partition_state (
    partition smallint PRIMARY KEY,
    epoch bigint NOT NULL,
    position text NOT NULL DEFAULT '0-0',
    watermark timestamptz NOT NULL DEFAULT '1970-01-01 00:00+00',
    rolled_through timestamptz NOT NULL DEFAULT '1970-01-01 00:00+00',
    admits_since timestamptz NOT NULL DEFAULT '1970-01-01 00:00+00',
    minutes_since timestamptz NOT NULL DEFAULT '1970-01-01 00:00+00',
    hours_since timestamptz NOT NULL DEFAULT '1970-01-01 00:00+00',
    raw_since timestamptz NOT NULL DEFAULT '1970-01-01 00:00+00',
    -- Another one for each correction of counts that no event can change any more, in the transaction that corrects. At
    -- random: one that a promoted replica never saw must not come up again for other counts.
    generation bigint NOT NULL DEFAULT hashtextextended(gen_random_uuid()::text, 0),
    state text NOT NULL DEFAULT 'owned' CHECK (state IN ('incoming', 'owned', 'held', 'stopped', 'moved')),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- Why a partition stopped by itself, and who let it go on.
    stop_reason text NOT NULL DEFAULT '',
    stop_detail text NOT NULL DEFAULT '',
    stopped_at timestamptz,
    resumed_by text NOT NULL DEFAULT '',
    -- What dead letters are held against: events read and dead-lettered in a window, and in a row; see storage/stopping.py.
    window_started_at timestamptz NOT NULL DEFAULT '1970-01-01 00:00+00',
    window_read bigint NOT NULL DEFAULT 0,
    window_dead bigint NOT NULL DEFAULT 0,
    dead_run bigint NOT NULL DEFAULT 0,
    dead_letter_allowance bigint NOT NULL DEFAULT 0,
    -- The attempt at moving the partition that this row takes part in, on either shard: a mover with another token has been
    -- replaced. Before `maintenance_held_until` nothing but flushes changes the partition's rows here.
    move_token uuid,
    maintenance_held_until timestamptz NOT NULL DEFAULT '1970-01-01 00:00+00',
    CHECK (hours_since <= minutes_since AND minutes_since <= rolled_through AND minutes_since <= admits_since)
) WITH (fillfactor = 50);

-- Raw events by day of receipt; a day is dropped whole when older than the retention.
-- Fixed-width columns first, so that binary COPY rows can be laid out as arrays. `viewer` is a keyed digest of the name that
-- the client gave, made by the gateway; 0: it gave none.
CREATE TABLE raw_event (
    partition smallint NOT NULL,
    event_type_id smallint NOT NULL,
    received_at timestamptz NOT NULL,
    occurred_at timestamptz NOT NULL,
    value bigint NOT NULL,
    viewer bigint NOT NULL DEFAULT 0,
    event_id uuid NOT NULL,
    video_id text COLLATE "C" NOT NULL
) PARTITION BY RANGE (received_at);
-- Flushes write their rows by video, so a range of pages spans few videos and little time, and skipping ranges finds a
-- video's events in milliseconds. Costs COPY nothing; a b-tree costs a fifth of the throughput.
CREATE INDEX raw_event_place ON raw_event USING brin (partition, video_id, occurred_at)
    WITH (pages_per_range = 16, autosummarize = on);

-- The ids of a flush, packed: 16 bytes an id and, at the same place, 8 bytes of content digest. Small pieces of a minute
-- that many flushes have met are put together: then `position` is the last one's, and the parts say which ids, in this
-- order, were of which flush.
CREATE TABLE event_ids (
    partition smallint NOT NULL,
    minute timestamptz NOT NULL,
    position text NOT NULL,
    ids bytea NOT NULL,
    contents bytea NOT NULL,
    part_positions text[],
    part_sizes integer[],
    PRIMARY KEY (partition, minute, position),
    CHECK (octet_length(ids) = 2 * octet_length(contents)),
    CHECK (coalesce(cardinality(part_positions), 0) = coalesce(cardinality(part_sizes), 0))
);
ALTER TABLE event_ids ALTER COLUMN ids SET STORAGE EXTERNAL, ALTER COLUMN contents SET STORAGE EXTERNAL;

-- Aggregates. sum, min and max are thousandths of the value's unit.
CREATE TABLE event_total (
    partition smallint NOT NULL,
    video_id text COLLATE "C" NOT NULL REFERENCES video,
    event_type_id smallint NOT NULL REFERENCES event_type,
    count bigint NOT NULL,
    sum bigint NOT NULL,
    min bigint NOT NULL,
    max bigint NOT NULL,
    PRIMARY KEY (partition, video_id, event_type_id)
) WITH (fillfactor = 70);

CREATE TABLE event_minute (
    partition smallint NOT NULL,
    video_id text COLLATE "C" NOT NULL,
    event_type_id smallint NOT NULL,
    start timestamptz NOT NULL,
    count bigint NOT NULL,
    sum bigint NOT NULL,
    min bigint NOT NULL,
    max bigint NOT NULL,
    PRIMARY KEY (partition, video_id, event_type_id, start)
) WITH (fillfactor = 80);
CREATE INDEX event_minute_start ON event_minute USING brin (start) WITH (pages_per_range = 16, autosummarize = on);

CREATE TABLE event_hour (LIKE event_minute, PRIMARY KEY (partition, video_id, event_type_id, start));
CREATE TABLE event_day (LIKE event_minute, PRIMARY KEY (partition, video_id, event_type_id, start));
CREATE INDEX event_hour_start ON event_hour (partition, start);
CREATE INDEX event_day_start ON event_day (partition, start);

-- Rolled buckets that no longer equal the tier below, because of late events. `start` is the bucket's own start.
CREATE TABLE rollup_dirty (
    partition smallint NOT NULL,
    tier text NOT NULL CHECK (tier IN ('hour', 'day')),
    video_id text COLLATE "C" NOT NULL,
    event_type_id smallint NOT NULL,
    start timestamptz NOT NULL,
    PRIMARY KEY (partition, tier, video_id, event_type_id, start)
);

-- Sketches of rolled buckets: which viewers (HyperLogLog) and which values (KLL), as bytes of Apache DataSketches, NULL where
-- there are none. `events` raw events went in. Raw events of a bucket are only ever added to, so a sketch is right exactly
-- if `events` is what the bucket's row in event_hour or event_day counts; nothing else marks one as outdated.
CREATE TABLE event_sketch (
    partition smallint NOT NULL,
    tier text NOT NULL CHECK (tier IN ('hour', 'day')),
    video_id text COLLATE "C" NOT NULL,
    event_type_id smallint NOT NULL,
    start timestamptz NOT NULL,
    events bigint NOT NULL,
    viewers bytea,
    quantiles bytea,
    PRIMARY KEY (partition, tier, video_id, event_type_id, start)
);
CREATE INDEX event_sketch_start ON event_sketch (partition, tier, start);
-- They are dense: there is nothing to compress, and outside the row they are not read where only `events` is.
ALTER TABLE event_sketch ALTER COLUMN viewers SET STORAGE EXTERNAL, ALTER COLUMN quantiles SET STORAGE EXTERNAL;

-- Hours and days that a rollup has (re)placed rows of since their sketches were last looked through. Another `marked_at` with
-- each, so that who looked through may not take away a mark that came meanwhile.
CREATE TABLE sketch_due (
    partition smallint NOT NULL,
    tier text NOT NULL CHECK (tier IN ('hour', 'day')),
    start timestamptz NOT NULL,
    marked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (partition, tier, start)
);

-- received = counted + duplicate + conflict + dead_lettered, by hour of the event. `digest` is the sum
-- mod 2^64 of hash64(event_id) over the counted events.
CREATE TABLE ledger (
    partition smallint NOT NULL,
    hour timestamptz NOT NULL,
    received bigint NOT NULL,
    counted bigint NOT NULL,
    duplicate bigint NOT NULL,
    conflict bigint NOT NULL,
    dead_lettered bigint NOT NULL,
    digest numeric(20, 0) NOT NULL,
    PRIMARY KEY (partition, hour),
    CHECK (received = counted + duplicate + conflict + dead_lettered)
) WITH (fillfactor = 70);

-- Events that could not be counted, one a row, and log entries that could not be read (those have no event_id). `payload` is
-- a packed entry with the event as it was, or the bytes that were none; the columns beside it are for people and may be
-- cleaned. The same event (id and content) refused again is the same row, once more `new`: `attempts` of the rows with an
-- id add up to the ledger's dead_lettered.
CREATE TABLE dead_letter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partition smallint NOT NULL,
    position text NOT NULL,
    reason text NOT NULL,
    sqlstate text,
    detail text NOT NULL,
    event_id uuid,
    content bigint,
    video_id text COLLATE "C",
    event_type_id integer,
    occurred_at timestamptz,
    value bigint,
    payload bytea NOT NULL,
    attempts integer NOT NULL DEFAULT 1,
    state text NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'replayed', 'discarded')),
    actor text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    refused_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    UNIQUE (partition, event_id, content),
    CHECK ((state = 'new') = (resolved_at IS NULL))
);
CREATE INDEX dead_letter_place ON dead_letter (created_at, partition, id);
CREATE INDEX dead_letter_new ON dead_letter (partition) WHERE state = 'new';
CREATE INDEX dead_letter_video ON dead_letter (video_id, created_at) WHERE video_id IS NOT NULL;

-- Events with the id of a counted event but another content: not counted. A flush keeps the first few, the ledger counts
-- all. `first_content` is the content digest of the event that was counted, `minute` the minute both ids belong to.
CREATE TABLE event_conflict (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partition smallint NOT NULL,
    event_id uuid NOT NULL,
    minute timestamptz NOT NULL,
    position text NOT NULL,
    first_content numeric(20, 0) NOT NULL,
    video_id text COLLATE "C" NOT NULL,
    event_type_id smallint NOT NULL,
    occurred_at timestamptz NOT NULL,
    value bigint NOT NULL,
    received_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX event_conflict_partition ON event_conflict (partition, id);
CREATE INDEX event_conflict_place ON event_conflict (created_at, partition, id);
CREATE INDEX event_conflict_video ON event_conflict (video_id, created_at);

-- Up to which revision of the catalogue each partition's videos are known here. A row moves with its partition,
-- and a shard copies changes from the lowest of its partitions on, so a partition that arrives misses nothing.
CREATE TABLE catalogue_cursor (
    partition smallint PRIMARY KEY,
    revision bigint NOT NULL
);

-- What recounts have changed, written with the change itself. `before` and `after` are count, sum, min and max, null for
-- no row; totals have no `start`. An hour or day that stands here was marked dirty: the next rollup makes it `after`.
CREATE TABLE correction (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partition smallint NOT NULL,
    job_id uuid NOT NULL,
    actor text NOT NULL,
    tier text NOT NULL CHECK (tier IN ('minute', 'hour', 'day', 'total')),
    video_id text COLLATE "C" NOT NULL,
    event_type_id smallint NOT NULL,
    start timestamptz,
    before bigint[],
    after bigint[],
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (before IS DISTINCT FROM after),
    CHECK ((start IS NULL) = (tier = 'total'))
);
CREATE INDEX correction_job ON correction (job_id, id);
