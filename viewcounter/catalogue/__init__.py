"""Videos and channels: titles, and the channel of each video. The control database is authoritative.

Counting never waits for it: an unknown video is counted at once and gets its title when the catalogue learns it.
"""
