"""The partitioned event log: durable, ordered, replayable; where an acknowledged event is safe.

Knows partitions, positions and opaque payloads, nothing of counting. Talks to the log server only. Never
keeps consumer state: what has been applied is the `position` on the partition's shard.
"""
