"""REST views of everything but the ingest lane, and the lane of hot reads: authentication, validation, one call of `queries`, one answer."""
