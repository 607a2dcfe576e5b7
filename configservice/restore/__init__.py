"""Rebuilds the topology of a control database that was lost or restored from a backup.

Responsible for the plan (which topology the shards' own rows prove) and for writing it as the next generation. Never
changes roles or rows of a shard. The caller reads the shards and passes in what they hold.
"""
