"""REST views of everything but the ingest lane: authentication, validation, one call of `queries`, one answer."""
