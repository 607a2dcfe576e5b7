-- Where the last entry of each gateway process stands, as of the row's position. See processing/producers.py.
ALTER TABLE partition_state ADD COLUMN producers bytea NOT NULL DEFAULT '';
