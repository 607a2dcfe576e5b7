"""API keys: shown once, hashed at rest, with scopes, rate limits and allowed web pages.

Used by the ingest endpoint and the REST views; never imports either. Talks to the control database, and to the cache
for limits over all processes. Its Django label is `gateway`, as in the names of its tables.
"""
