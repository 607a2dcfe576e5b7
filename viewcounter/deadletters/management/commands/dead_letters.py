"""`manage.py dead_letters`: list, replay or discard dead letters, resume stopped partitions."""

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
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", help="action")
        listing = actions.add_parser("list", help="list dead letters, newest first")
        _add_filters(listing)
        listing.add_argument("--state", choices=STATES, help="only dead letters in this state")
        listing.add_argument("--limit", type=_parse_count, default=100, metavar="N", help="at most N (default: 100)")
        show = actions.add_parser("show", help="show one dead letter with its payload")
        show.add_argument("id", metavar="ID", help="{shard}-{row}, as `dead_letters list` shows it")
        show.add_argument("--export", type=Path, metavar="FILE", help="write the payload's bytes to a new file")
        for name, text in (("replay", "count them after all"), ("discard", "give them up")):
            action = actions.add_parser(name, help=text)
            action.add_argument(
                "ids",
                nargs="*",
                metavar="ID",
                help="ids; filters instead of ids need --limit",
            )
            _add_filters(action)
            action.add_argument("--limit", type=_parse_count, metavar="N", help="at most N of those selected")
        actions.add_parser("stopped", help="list stopped partitions and their reasons")
        go_on = actions.add_parser("resume", help="resume a stopped partition")
        go_on.add_argument("partition", type=int, metavar="PARTITION", help="number of the partition")
        go_on.add_argument(
            "--accept-dead-letters",
            type=int,
            default=0,
            metavar="N",
            help="accept N more dead letters regardless of the limits (default: 0)",
        )
        for action in actions.choices.values():
            action.add_argument("--json", action="store_true", help="print JSON, one object a line")

    def handle(self, **options: Any) -> None:
        from viewcounter.deadletters.command import DeadLetterActions

        DeadLetterActions(stdout=self.stdout, stderr=self.stderr).run(options)


def _add_filters(parser: CommandParser) -> None:
    parser.add_argument("--partition", type=int, metavar="N", help="only of this partition")
    parser.add_argument("--reason", metavar="CODE", help="only with this reason")
    parser.add_argument("--video", metavar="ID", help="only of this video")
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
