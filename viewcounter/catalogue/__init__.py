"""Videos and channels: titles, and the channel of each video. The control database is authoritative.

Counting never waits for it: an unknown video is counted at once and gets its title when it is added. Talks to the
control database and, through `clusterproxy`, to the copies on the shards.
"""
