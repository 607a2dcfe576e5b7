"""Where the answer of one request leads: OpenAPI links, for readers of the document and programs that follow it."""
# ruff: noqa: ARG001 (drf-spectacular gives its hooks more than they need)

from typing import Any, NamedTuple

Document = dict[str, Any]

_VIDEO_OF_PATH = {"video_id": "$request.path.video_id"}
_CHANNEL_OF_PATH = {"channel_id": "$request.path.channel_id"}
_VIDEO_OF_EVENT = {"video_id": "$request.body#/video_id"}


class ApiLink(NamedTuple):
    """From an answer of `operation`, with one of `statuses`, to another operation; how to fill in its parameters."""

    operation: str
    statuses: tuple[str, ...]
    name: str
    target: str
    parameters: dict[str, str]
    description: str


LINKS = (
    ApiLink(
        "postEvents", ("202",), "receipt", "getReceipt", {"event_id": "$request.body#/event_id", **_VIDEO_OF_EVENT},
        "What became of the event, when one was sent by itself.",
    ),
    ApiLink(
        "postEvents", ("202",), "counts", "getVideoCounts", _VIDEO_OF_EVENT,
        "The counts of its video; with `min_position` from `positions` the event is in them.",
    ),
    ApiLink("putVideo", ("200", "201"), "video", "getVideo", _VIDEO_OF_PATH, "What was written."),
    ApiLink("putVideo", ("200", "201"), "counts", "getVideoCounts", _VIDEO_OF_PATH, "The counts of the video."),
    ApiLink("getVideo", ("200",), "counts", "getVideoCounts", _VIDEO_OF_PATH, "The counts of the video."),
    ApiLink("putChannel", ("200", "201"), "channel", "getChannel", _CHANNEL_OF_PATH, "What was written."),
    ApiLink("putChannel", ("200", "201"), "counts", "getChannelCounts", _CHANNEL_OF_PATH, "The counts of its videos."),
    ApiLink("createRecount", ("202",), "recount", "getRecount", {"recount_id": "$response.body#/id"}, "How far it is."),
    ApiLink(
        "listDeadLetters", ("200",), "first", "getDeadLetter", {"dead_letter_id": "$response.body#/dead_letters/0/id"},
        "The first one, with its payload.",
    ),
)  # fmt: skip


def add_links(result: Document, generator: Any, request: Any, public: bool) -> Document:
    """drf-spectacular's postprocessing hook. Raises KeyError for a link from or to an operation that there is not."""
    operations = {
        operation["operationId"]: operation for methods in result["paths"].values() for operation in methods.values()
    }
    for link in LINKS:
        named = {
            "operationId": operations[link.target]["operationId"],
            "parameters": link.parameters,
            "description": link.description,
        }
        for status in link.statuses:
            operations[link.operation]["responses"][status].setdefault("links", {})[link.name] = named
    return result
