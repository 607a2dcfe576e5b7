"""Event types of a new cluster. More are added in the admin; the meaning of an id never changes."""

from configservice.topology.model import EventType

DEFAULT_EVENT_TYPES = (
    EventType(id=1, name="view", valued=False),
    EventType(id=2, name="like", valued=False),
    EventType(id=3, name="dislike", valued=False),
    EventType(id=4, name="comment", valued=False),
    EventType(id=5, name="share", valued=False),
    EventType(id=6, name="watch_time", valued=True),
)
