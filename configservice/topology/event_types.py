"""What a new cluster can count. Later types are added in the admin; ids never change meaning once used."""

from configservice.topology.model import EventType

DEFAULT_EVENT_TYPES = (
    EventType(id=1, name="view", valued=False),
    EventType(id=2, name="like", valued=False),
    EventType(id=3, name="dislike", valued=False),
    EventType(id=4, name="comment", valued=False),
    EventType(id=5, name="share", valued=False),
    EventType(id=6, name="watch_time", valued=True),
)
