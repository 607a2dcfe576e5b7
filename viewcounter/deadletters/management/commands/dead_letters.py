"""`manage.py dead_letters`: look at what could not be counted, replay or discard it, let stopped partitions go on."""

from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from commandline.command import OperatorCommand, Subject

STATES = ("new", "replayed", "discarded")


class Command(OperatorCommand):
    subject = Subject.DATA
    help = (
        "Look at, replay or discard dead letters, and resume partitions. Dead letters are events that could not be "
        "counted; too many of them stop a partition."
    )
    examples = (
        "manage.py dead_letters list --state new",
        "manage.py dead_letters replay --reason unknown_event_type --limit 1000",
        "manage.py dead_letters resume 7",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", help="what to do")
        listing = actions.add_parser("list", help="newest first")
        _add_filters(listing)
        listing.add_argument("--state", choices=STATES, help="only those in this state")
        listing.add_argument("--limit", type=_parse_count, default=100, metavar="N", help="at most N (default: 100)")
        show = actions.add_parser("show", help="one, with its payload")
        show.add_argument("id", metavar="ID", help="{shard}-{row}, as `dead_letters list` shows it")
        show.add_argument("--export", type=Path, metavar="FILE", help="write the payload's bytes to a new file")
        for name, text in (("replay", "count them after all"), ("discard", "give them up")):
            action = actions.add_parser(name, help=text)
            action.add_argument("ids", nargs="*", metavar="ID", help="these; or by filter, which needs --limit")
            _add_filters(action)
            action.add_argument("--limit", type=_parse_count, metavar="N", help="at most N of those that fit")
        actions.add_parser("stopped", help="partitions that have stopped, and why")
        go_on = actions.add_parser("resume", help="let a stopped partition go on")
        go_on.add_argument("partition", type=int, metavar="PARTITION", help="number of the partition")
        go_on.add_argument(
            "--accept-dead-letters",
            type=int,
            default=0,
            metavar="N",
            help="let N more dead letters pass, whatever the limits say (default: 0)",
        )
        for action in actions.choices.values():
            action.add_argument("--json", action="store_true", help="print JSON, one object a line")

    def handle(self, **options: Any) -> None:
        from viewcounter.deadletters.command import DeadLetterActions

        DeadLetterActions(stdout=self.stdout, stderr=self.stderr).run(options)


def _add_filters(parser: CommandParser) -> None:
    parser.add_argument("--partition", type=int, metavar="N", help="only those of this partition")
    parser.add_argument("--reason", metavar="CODE", help="only those refused for this reason")
    parser.add_argument("--video", metavar="ID", help="only those of this video")
    parser.add_argument("--since", type=_parse_instant, metavar="TIME", help="first refused, with offset, inclusive")
    parser.add_argument("--until", type=_parse_instant, metavar="TIME", help="first refused, with offset, exclusive")


def _parse_instant(text: str) -> datetime:
    """Raises ValueError, which argparse reports, for a time without offset."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(text)
    return instant


def _parse_count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count
