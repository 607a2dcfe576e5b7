"""What an unknown path may have meant. Pure, and bounded: long paths get no suggestion."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

SIMILARITY_MIN = 0.75
"""Of the fixed segments of a path to those of a route, 0 to 1."""
PATH_MAX_CHARACTERS = 400
VERSION = "v1"


def describe_unknown_path(path: str, routes: Iterable[str]) -> str:
    """For people: what the path may have meant, and where the addresses are documented."""
    similar = find_similar_path(path, routes)
    meant = "" if similar is None else f" Did you mean {similar}?"
    return f"There is nothing at this address.{meant} All addresses: /{VERSION}/docs."


def find_similar_path(path: str, routes: Iterable[str]) -> str | None:
    """The most similar route to `path`, with the ids of `path`; None if none is similar.

    A route has its parameters as `<str:video_id>`, and no leading slash. The version may be missing in `path`.
    """
    if len(path) > PATH_MAX_CHARACTERS:
        return None
    given = path.strip("/").split("/")
    forms = (given, [VERSION, *given])
    similarity, found = max((_compare(form, route.split("/")) for route in routes for form in forms), default=(0.0, ""))
    return f"/{found}" if similarity >= SIMILARITY_MIN else None


def list_tried_routes(details: Mapping[str, Any]) -> list[str]:
    """Of Django's `Resolver404`: the routes of this process, without those of the admin."""
    routes = ["".join(str(part.pattern) for part in chain) for chain in details.get("tried", ())]
    return [route for route in routes if route and not route.startswith("admin/")]


def _compare(given: Sequence[str], route: Sequence[str]) -> tuple[float, str]:
    """How similar they are, and the route with the ids of `given`."""
    if len(given) != len(route):
        return 0.0, ""
    pairs = list(zip(given, route, strict=True))
    fixed = [(segment, part) for segment, part in pairs if not part.startswith("<")]
    sent, wanted = ("/".join(part) for part in zip(*fixed, strict=True))
    filled = "/".join(segment if part.startswith("<") else part for segment, part in pairs)
    return SequenceMatcher(None, sent.lower(), wanted).ratio(), filled
