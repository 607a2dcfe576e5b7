"""REST views of everything but the ingest lane, and the lane of hot reads.

Each authenticates, validates, makes one call of `queries` and gives one answer.
"""
