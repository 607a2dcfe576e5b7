"""Access to a local cluster: its addresses, an API key, and two commands to copy."""

import json
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from devtools.localcluster.spec import TRYOUT_KEY
from devtools.localcluster.state import StateFolder, write_private

EXAMPLE_VIDEO = "XpVt6Z1Gjjo"


def describe_access(url: str, state: StateFolder, *, now: datetime, event_id: UUID) -> Iterator[str]:
    """`now` and `event_id`: of the event in the command to copy. Sent twice, it is counted once."""
    yield f"web        {url}/"
    yield f"events     POST {url}/v1/events"
    yield f"API docs   {url}/v1/docs"
    yield f"admin      {url}/admin/  user admin, password in {state.get_secret_path('admin_password')}"
    key = state.find_secret(TRYOUT_KEY)
    if key is None:
        return
    event = {
        "event_id": str(event_id),
        "video_id": EXAMPLE_VIDEO,
        "event_type": "view",
        "occurred_at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
    }
    yield f"API key    {key}  may send events and read statistics; `. {state.tryout_file}` sets URL and KEY"
    yield "Send an event, and read the count:"
    yield (
        f"  curl -s '{url}/v1/events?wait=applied' -H 'Authorization: Bearer {key}'"
        f" -H 'Content-Type: application/json' -d '{json.dumps(event)}'"
    )
    yield f"  curl -s '{url}/v1/videos/{EXAMPLE_VIDEO}/counts' -H 'Authorization: Bearer {key}'"


def write_tryout(url: str, state: StateFolder) -> None:
    """Write a file for shells, readable by its owner only."""
    write_private(state.tryout_file, f"URL={url}\nKEY={state.find_secret(TRYOUT_KEY) or ''}\n")
