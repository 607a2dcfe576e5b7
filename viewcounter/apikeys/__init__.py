"""API keys: made once, shown once, hashed at rest; what each may do, how much, and from which web pages.

Used by the ingest endpoint and the REST views alike. Talks to the control database, and to the cache for limits
over all processes. Django knows it by the label `gateway`, that of its tables.
"""
