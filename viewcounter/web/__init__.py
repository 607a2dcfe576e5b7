"""The web process: ASGI application, workers, reading and bounding of requests, the admin in a process of its own.

Routes requests to `ingest`, `api` and Django; never decides a response itself, except to refuse a request. Only
`application` and `asgi` import the endpoints.
"""
