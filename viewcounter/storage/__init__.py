"""The tables of a shard and the statements on them, but for those of shard proxy and config service, which check a
shard's identity, term and positions.

Owns the schema (Django migrations of SQL files), the flush transaction and the read statements. Takes an open
connection or returns a named query. Never chooses a shard, never opens a connection, never reads the log or a setting.
"""
