"""The fast path of reads: counts that this process has kept are answered before Django is asked, byte for byte as
Django would.

Never reads a shard on the event loop.
"""
