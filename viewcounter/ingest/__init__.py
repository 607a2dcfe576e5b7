"""The door for events: one small ASGI lane that authenticates, validates, groups and appends to the event log.

Answers only when the log says the events are durable. Never counts, never touches a shard.
"""
