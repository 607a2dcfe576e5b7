"""The statement that reads the outcome of one event."""

from viewcounter.storage.named_sql import load_queries

RECEIPT_OF_EVENT = load_queries("receipts.sql")["receipt_of_event"]
"""Parameters: partition, video_id, event_id, occurred_at and minute (each may be None). One row; columns
without a match are null."""
