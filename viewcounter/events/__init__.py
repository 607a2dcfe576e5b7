"""What an event is: its fields and limits, its type, its partition, its digest.

Pure functions and message types, plus the control table of event types. Never does I/O on the hot path and
talks to nobody: gateway, eventlog, processing and storage import from here.
"""
