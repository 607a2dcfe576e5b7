-- Of the topology that this shard is in: raised when the control database is rebuilt (`manage.py restore_topology`). A
-- process with a topology of a lower generation begins no transaction here.
ALTER TABLE shard_identity ADD COLUMN generation bigint NOT NULL DEFAULT 0;
