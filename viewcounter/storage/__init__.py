"""The tables of a shard and every statement on them.

Owns the schema (Django migrations of SQL files), the flush transaction and the read statements. Takes an open
connection or returns a named query. Never chooses a shard, never opens a connection, never reads the log or a setting.
"""
