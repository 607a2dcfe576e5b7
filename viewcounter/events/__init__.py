"""Events: fields and limits, type, partition, digest, columns.

Pure functions and message types, plus the control table of event types. Never does I/O on the hot path and
talks to nobody: gateway, eventlog, processing and storage import from here.
"""
