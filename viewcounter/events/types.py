"""Event types: the small, admin-extensible list of what can be counted.

The list is published with the topology (`configservice.topology.EventType`), so every process validates
against the same one; ids never change meaning once used.
"""

from configservice.topology import EventType

DEFAULT_EVENT_TYPES = (
    EventType(id=1, name="view", valued=False),
    EventType(id=2, name="like", valued=False),
    EventType(id=3, name="dislike", valued=False),
    EventType(id=4, name="comment", valued=False),
    EventType(id=5, name="share", valued=False),
    EventType(id=6, name="watch_time", valued=True),
)
"""What a new cluster starts with (`manage.py init_cluster`)."""
