"""Moves partitions between shards while they are counted and read: copy, catch up, compare, hand over, remove.

Carries out the moves recorded in `configservice.moves.records`, with the statements of `viewcounter.storage` and the
drain of `viewcounter.processing`. Never decides which shard owns a partition: the flip in the config service does.
"""
