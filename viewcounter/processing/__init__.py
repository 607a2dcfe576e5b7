"""Drains: from log entries to one flush transaction on a shard.

Reads a partition past its position, drops duplicates, aggregates in memory and hands the result to
`storage.flush`. Decides nothing that the flush transaction does not confirm; keeps no state that matters.
"""
