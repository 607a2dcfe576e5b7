"""Ingestion of events: the ASGI endpoint that authenticates, validates, groups and appends them to the event log.

Responds only once the log confirms that the events are durable. Never counts, never connects to a shard. Talks to the
log, and to the cache for idempotency keys.
"""
