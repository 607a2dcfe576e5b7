"""The tables of a shard and every statement on them.

Owns the schema (Django migrations of SQL files), the flush transaction and the read statements. Takes an
open connection or names a query; never decides which shard, and never opens connections itself.
"""
