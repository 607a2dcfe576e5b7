"""The topology: its model, the control tables it is built from, its publication, signatures and history.

`model` is what every process imports, and depends on nothing. Never looks at a server. Talks to the control
database and the cache.
"""
