"""`manage.py moves`: list moves of partitions, resume unfinished ones, abort one."""

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from commandline.command import Subject
from configservice.errors import MoveNotPossible, UnknownMove
from viewcounter.commands.counting_command import CountingCommand


class Command(CountingCommand):
    subject = Subject.CLUSTER
    help = "List, resume or abort moves of partitions. A move can be aborted until its flip."
    examples = ("manage.py moves list", "manage.py moves resume", "manage.py moves abort 17")

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", help="what to do")
        actions.add_parser("list", help="list moves, newest first")
        actions.add_parser("resume", help="finish every unfinished move")
        stop = actions.add_parser("abort", help="keep the partition on its source and remove the copy")
        stop.add_argument("id", type=int, metavar="ID", help="number of the move in `moves list`")
        for action in actions.choices.values():
            action.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, **options: Any) -> None:
        getattr(self, f"_{options['action']}")(options)

    def _list(self, options: dict[str, Any]) -> None:
        from configservice.moves.records import list_moves
        from viewcounter.config import get_config
        from viewcounter.moves.answers import encode_move
        from viewcounter.moves.progress import describe_move

        moves = list_moves(limit=get_config().move.max_items)
        if options["json"]:
            self.stdout.write(json.dumps([encode_move(move) for move in moves], default=str))
            return
        for move in moves:
            self.stdout.write(describe_move(move))

    def _resume(self, options: dict[str, Any]) -> None:
        from configservice.moves.records import list_unfinished
        from viewcounter.moves.commands import carry_out

        ids = [move.pk for move in list_unfinished()]
        carry_out(ids, stdout=self.stdout, stderr=self.stderr, as_json=options["json"])

    def _abort(self, options: dict[str, Any]) -> None:
        """Removes the copy here, unless another mover has claimed the move and does so."""
        from configservice.moves.records import abort
        from viewcounter.config import get_config
        from viewcounter.moves.answers import encode_move
        from viewcounter.moves.commands import get_actor
        from viewcounter.moves.progress import describe_move
        from viewcounter.moves.scheduler import build_tools, drive

        try:
            abort(options["id"], actor=get_actor())
        except (MoveNotPossible, UnknownMove) as error:
            raise CommandError(str(error)) from error
        [move] = drive(build_tools(get_config()), [options["id"]])
        self.stdout.write(json.dumps(encode_move(move), default=str) if options["json"] else describe_move(move))
