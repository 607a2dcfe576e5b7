"""Numbers for web pages, in front of Django: counts with a public key and CORS, live or not, a badge and a script.

Never reads a shard on the event loop, and never more than once an interval for all watchers of a video.
"""
