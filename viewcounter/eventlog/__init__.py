"""The partitioned event log: durable, ordered, replayable. An event in it is safe.

Stores payloads by partition and position; only `codec` knows the events in them. Never counts. Talks to the log
server, and to the cache server for the lag notice. Never keeps consumer state: the applied `position` is on the
partition's shard.
"""
