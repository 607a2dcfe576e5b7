"""The parameters that all reads take: consistency, freshness, and whether the route is explained."""

from typing import Any

from django.http import QueryDict
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers

from clusterproxy.plan import Consistency, Reason
from clusterproxy.results import Route
from viewcounter.cluster import get_cluster
from viewcounter.eventlog.interface import Position
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.freshness import DEFAULT, ReadOptions

READ_PARAMETERS = ("consistency", "max_staleness", "min_position", "explain")
MAX_STALENESS_SECONDS = 7 * 86400
POSITION_MAX_CHARACTERS = 41
POSITION = {"type": "string", "maxLength": POSITION_MAX_CHARACTERS, "pattern": r"^\d+-\d+$"}
_ROUTE = "route"

_CONSISTENCY = OpenApiParameter(
    "consistency",
    {"type": "string", "enum": list(Consistency), "default": Consistency.EVENTUAL.value},
    description=(
        "`eventual`: the nearest copy, perhaps a moment behind. `strong`: the primary only; fails while there "
        "is none. `quorum`: the furthest of as many copies as are sure to have every counted event among them."
    ),
)
_MAX_STALENESS = OpenApiParameter(
    "max_staleness",
    {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_STALENESS_SECONDS},
    description=(
        "Seconds: everything received before that time is in the answer (`meta.complete_until`), or it is a 504 with "
        "the code `too_stale`."
    ),
)
_PAIR = r"\d+:\d+-\d+"
_PAIRS = (
    "`partition:position` pairs with commas between (`3:1760000000000-0,7:1760000000123-0`), as `POST /v1/events` "
    "answered them in `positions`: all of these events are in the answer, or it is a 504 with the code "
    "`position_not_reached`. The read waits a moment for them. Partitions that are not read are "
    "ignored."
)
_MIN_POSITION = OpenApiParameter(
    "min_position",
    {"type": "string", "pattern": rf"^{_PAIR}(,{_PAIR})*$"},
    description=_PAIRS,
)
_MIN_POSITION_OF_VIDEO = OpenApiParameter(
    "min_position",
    {"type": "string", "pattern": rf"^(\d+-\d+|{_PAIR}(,{_PAIR})*)$"},
    description=_PAIRS + " Or only the position, of the video's own partition.",
)
_EXPLAIN = OpenApiParameter(
    "explain",
    {"type": "string", "enum": [_ROUTE]},
    description="`route`: `meta.route` has the instances that were tried, the reason, and the time of each.",
)

OF_ONE_VIDEO = [_CONSISTENCY, _MAX_STALENESS, _MIN_POSITION_OF_VIDEO, _EXPLAIN]
OF_MANY_PARTITIONS = [_CONSISTENCY, _MAX_STALENESS, _MIN_POSITION, _EXPLAIN]


def get_read_options(query: QueryDict, *, one_video: bool) -> ReadOptions:
    """Raises InvalidQuery. `one_video`: the read has one partition, so that its position needs no partition."""
    if not any(name in query for name in READ_PARAMETERS):
        return DEFAULT
    explain = query.get("explain")
    if explain not in (None, _ROUTE):
        raise InvalidQuery("explain", "unknown_explanation", f"must be: {_ROUTE}")
    bare, by_partition = _parse_min_position(query.get("min_position"), one_video=one_video)
    return ReadOptions(
        consistency=_parse_consistency(query.get("consistency", Consistency.EVENTUAL.value)),
        max_staleness_seconds=_parse_staleness(query.get("max_staleness")),
        min_position=bare,
        min_positions=by_partition,
        explains=explain is not None,
    )


def _parse_consistency(text: str) -> Consistency:
    try:
        return Consistency(text)
    except ValueError:
        allowed = ", ".join(Consistency)
        raise InvalidQuery("consistency", "unknown_consistency", f"must be one of: {allowed}") from None


def _parse_staleness(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text) if text.isascii() and "_" not in text else float("nan")
    except ValueError:
        seconds = float("nan")
    if not 0 < seconds <= MAX_STALENESS_SECONDS:  # false for nan too
        message = f"must be a number of seconds above 0, at most {MAX_STALENESS_SECONDS}"
        raise InvalidQuery("max_staleness", "out_of_bounds", message)
    return seconds


def _parse_min_position(text: str | None, *, one_video: bool) -> tuple[Position | None, dict[int, Position]]:
    if text is None:
        return None, {}
    if one_video and ":" not in text:
        return parse_position("min_position", text), {}
    positions: dict[int, Position] = {}
    for pair in text.split(","):
        partition_text, colon, position_text = pair.partition(":")
        if not colon:
            message = f"must be pairs partition:position, for example 3:1760000000000-0, not {pair[:64]!r}"
            raise InvalidQuery("min_position", "partition_missing", message)
        partition = _parse_partition(partition_text)
        if partition in positions:
            raise InvalidQuery("min_position", "repeated_partition", f"names partition {partition} twice")
        positions[partition] = parse_position("min_position", position_text)
    return None, positions


def _parse_partition(text: str) -> int:
    count = get_cluster().topology.partition_count
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) < count):
        raise InvalidQuery("min_position", "unknown_partition", f"partitions are 0 to {count - 1}, not {text[:64]!r}")
    return int(text)


def parse_position(field: str, text: str) -> Position:
    """Raises InvalidQuery."""
    try:
        if len(text) > POSITION_MAX_CHARACTERS:
            raise ValueError
        return Position.parse(text)
    except ValueError:
        message = f"must be a position, for example 1760000000000-0, not {text[:64]!r}"
        raise InvalidQuery(field, "invalid_position", message) from None


CACHE = (
    "The cache that had the rows: `process`, `shared`, or `stale` if no instance answers; `coalesced` with a reader of "
    "the same rows; `miss`; null: the caches were not used."
)


class AttemptSerializer(serializers.Serializer):
    instance = serializers.CharField()
    outcome = serializers.CharField(help_text="`answered`, `behind` the required freshness, or why it did not answer.")
    elapsed_ms = serializers.FloatField()


class RouteSerializer(serializers.Serializer):
    shard = serializers.CharField()
    partitions = serializers.ListField(child=serializers.IntegerField())
    epoch = serializers.IntegerField(help_text="Of the topology of the read.")
    consistency = serializers.ChoiceField(choices=list(Consistency))
    instance = serializers.CharField(allow_null=True, help_text="null: the rows come from a cache.")
    role = serializers.CharField(allow_null=True)
    zone = serializers.CharField(allow_null=True)
    reason = serializers.ChoiceField(choices=list(Reason), allow_null=True, help_text="Why the instance was chosen.")
    lag_seconds = serializers.FloatField(allow_null=True, help_text="As last measured; null: unknown.")
    cache = serializers.CharField(allow_null=True, help_text=CACHE)
    elapsed_ms = serializers.FloatField(help_text="Total, with `waited_ms` and all attempts.")
    waited_ms = serializers.FloatField(help_text="Wait until an instance was fresh enough.")
    attempts = AttemptSerializer(many=True)
    positions = serializers.DictField(
        child=serializers.CharField(),
        help_text="Position of the rows by partition; empty if no freshness is required.",
    )


def encode_routes(routes: tuple[Route, ...]) -> list[dict[str, Any]]:
    return [_encode_route(route) for route in sorted(routes, key=lambda route: route.shard)]


def _encode_route(route: Route) -> dict[str, Any]:
    instance = route.instance
    return {
        "shard": route.shard,
        "partitions": list(route.partitions),
        "epoch": route.epoch,
        "consistency": route.consistency.value,
        "instance": instance and instance.name,
        "role": instance and instance.role.value,
        "zone": instance and instance.zone,
        "reason": route.reason and route.reason.value,
        "lag_seconds": route.lag_seconds,
        "cache": route.cache,
        "elapsed_ms": _to_ms(route.seconds),
        "waited_ms": _to_ms(route.waited_seconds),
        "attempts": [
            {"instance": a.instance, "outcome": a.outcome, "elapsed_ms": _to_ms(a.seconds)} for a in route.attempts
        ],
        "positions": {str(p): str(Position(*seen.position)) for p, seen in route.progress.items()},
    }


def _to_ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
