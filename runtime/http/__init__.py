"""HTTP parts that every web process shares: errors as problem+json, bounds of a request's head, `/metrics` of
other processes.

Never knows what a request asks for. Talks to sockets through uvicorn.
"""
