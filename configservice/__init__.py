"""Config service: owns the topology (shards, instances, primaries, the shard of each partition) and performs failover.

Responsible for storing the topology in the control database, publishing every change under a new epoch, monitoring
instances, changing primaries, and recording moves of partitions. Never reads or writes a count: of a shard's tables it
reads `shard_identity` and `partition_state`, writes the shard term, and checks that the tables of a new shard are
empty. Talks to the control database, the cache, and instances (through `monitoring.connections`). Every process imports
`configservice.topology.model`; the rest is for the control plane, the admin and sources of the topology.
"""
