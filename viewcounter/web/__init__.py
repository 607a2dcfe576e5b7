"""The web process: ASGI application, workers, bounds of requests on their way to Django, the admin in a process of
its own.

Knows who answers what; what is answered is decided in `ingest` and `api`.
"""
