"""The fast path of reads: counts in the memory of this process are answered without Django, byte for byte as Django
would.

Never reads a shard on the event loop.
"""
