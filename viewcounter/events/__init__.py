"""Events: fields and limits, type, partition, digest, columns.

Pure functions and message types. Never does I/O and imports no other package of the service: ingest, eventlog,
processing and storage import from here.
"""
