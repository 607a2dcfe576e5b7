"""The options of `manage.py replay` and `manage.py demo`. Does not import the replay itself."""

import argparse
import re

from devtools.replay.errors import BadReplayOption
from devtools.replay.nonce import Nonce

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_replay_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--scale", type=int, default=10_000, metavar="N", help="real counts for each event (default: 10000)")
    add(
        "--day-length",
        type=parse_duration,
        default="1h",
        metavar="TIME",
        help="duration of a data day: 90s, 30m, 1h (default: 1h)",
    )
    add(
        "--duplicates",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="share of events that are sent twice (default: 0.01)",
    )
    add("--invalid", type=float, default=0.001, metavar="SHARE", help="share of invalid events added (default: 0.001)")
    add("--batch", type=int, default=500, metavar="N", help="events in a request (default: 500)")
    add("--threads", type=int, default=4, metavar="N", help="concurrent requests (default: 4)")
    add("--gzip", action="store_true", help="compress the requests")
    add("--seed", type=int, default=2017, metavar="N", help="seed of times, ids and duplicates (default: 2017)")
    add("--limit-days", type=int, metavar="N", help="only the first N data days")
    add("--max-events", type=int, metavar="N", help="only the first N events")
    add(
        "--nonce",
        type=parse_nonce,
        metavar="NONCE",
        help="repeat a finished run with the same options: all events must be duplicates",
    )
    add("--json", action="store_true", help="print the report as JSON on stdout, progress on stderr")


def parse_duration(text: str) -> float:
    """Seconds of `90s`, `1.5h`, `1d`. Raises argparse's error for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"not a duration such as 90s, 30m, 1h or 1d: {text!r}")
    return float(match[1]) * _UNIT_SECONDS[match[2]]


def parse_nonce(text: str) -> Nonce:
    try:
        return Nonce.parse(text)
    except BadReplayOption as error:
        raise argparse.ArgumentTypeError(str(error)) from error
