"""HTTP parts that every web process shares: refusals as problem+json, the ASGI responder, bounds of a request's head,
`/metrics` of other processes.

Never knows the endpoints. Talks to sockets through uvicorn.
"""
