"""Dead letters: events that could not be counted, stored with their reason to be replayed or discarded. Also stopped
partitions, and conflicts: events under the id of another event.

Never drops an event without a row that records it. Talks to the shards, and to the event log for replays.
"""
