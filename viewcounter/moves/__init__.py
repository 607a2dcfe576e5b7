"""Moving partitions from shard to shard while they are counted and read.

Does what `configservice.moves.records` writes down: copies, catches up through the event log, compares, hands over,
removes.
Knows the tables through `viewcounter.storage`; never decides where a partition lives, the config service's flip does.
"""
