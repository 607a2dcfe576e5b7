"""Uses the package that openapi-python-client makes of the OpenAPI document; run by the check, beside the package."""
# mypy: ignore-errors

import json
import sys
from datetime import UTC, datetime
from uuid import UUID

from viewcounter_rest_api_client import AuthenticatedClient
from viewcounter_rest_api_client.api.events import post_events
from viewcounter_rest_api_client.api.reads import get_top, get_video_counts
from viewcounter_rest_api_client.models import Event

base_url, token, video_id, event_id = sys.argv[1:]
with AuthenticatedClient(base_url=base_url, token=token) as client:
    event = Event(event_id=UUID(event_id), video_id=video_id, event_type="view", occurred_at=datetime.now(UTC))
    sent = post_events.sync_detailed(client=client, body=event)
    read = get_video_counts.sync_detailed(video_id, client=client)
    refused = get_top.sync_detailed(client=client, event_type="view", limit=100_000)
sys.stdout.write(
    json.dumps(
        {
            "sent": [sent.status_code, sent.parsed.accepted],
            "read": [read.status_code, read.parsed.counts.additional_properties["view"]],
            "refused": [refused.status_code, refused.parsed.errors[0].field],
        }
    )
)
