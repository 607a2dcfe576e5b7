"""Steps that the commands which move partitions share: confirm, plan, carry out, summarize."""

import getpass
import json
import signal
import sys
from collections.abc import Mapping
from statistics import median
from types import FrameType

from django.core.management.base import CommandError, OutputWrapper

from configservice.errors import MoveNotPossible
from configservice.models import Move
from configservice.moves.records import plan_moves
from configservice.moves.states import MoveState
from configservice.topology.model import Topology
from viewcounter.config import get_config
from viewcounter.moves.answers import encode_move, get_held_seconds
from viewcounter.moves.errors import MoverStopping
from viewcounter.moves.progress import MoveProgress
from viewcounter.moves.scheduler import build_tools, drive


class StopFlag:
    """Set by SIGTERM or Ctrl-C; the mover stops at its next check."""

    def __init__(self) -> None:
        self._is_set = False

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._set)

    def is_set(self) -> bool:
        return self._is_set

    def _set(self, _number: int, _frame: FrameType | None) -> None:
        self._is_set = True


def get_actor() -> str:
    return f"{getpass.getuser()} (manage.py)"


def get_shard_id(topology: Topology, name: str) -> int:
    """Raises CommandError for an unknown name, with the names of all shards."""
    for shard in topology.shards:
        if shard.name == name:
            return shard.id
    raise CommandError(f"there is no shard {name}; there are {', '.join(shard.name for shard in topology.shards)}")


def confirm(question: str, *, is_agreed: bool) -> None:
    """Raises CommandError unless the user answers yes; without a terminal only `--yes` confirms."""
    if is_agreed:
        return
    if not sys.stdin.isatty():
        raise CommandError("standard input is no terminal: confirm with --yes")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandError("cancelled; no partition was moved")


def describe_plan(topology: Topology, targets: Mapping[int, int]) -> list[str]:
    return [
        f"partition {p}: {topology.get_shard_of(p).name} -> {topology.get_shard(shard_id).name}"
        for p, shard_id in sorted(targets.items())
    ]


def request_moves(targets: Mapping[int, int], *, reason: str) -> list[Move]:
    try:
        return plan_moves(targets, actor=get_actor(), reason=reason)
    except MoveNotPossible as error:
        raise CommandError(str(error)) from error


def carry_out(move_ids: list[int], *, stdout: OutputWrapper, stderr: OutputWrapper, as_json: bool) -> None:
    """Blocks until all moves have ended. Raises CommandError unless all of them are done."""
    flag = StopFlag()
    flag.install()
    tools = build_tools(get_config(), is_stopping=flag.is_set)
    try:
        with MoveProgress(stderr._out, total=len(move_ids)) as progress:
            moves = drive(tools, move_ids, on_move=progress)
    except MoverStopping as error:
        raise CommandError("stopped; `manage.py moves resume` continues the moves") from error
    if as_json:
        stdout.write(json.dumps([encode_move(move) for move in moves], default=str))
    else:
        stdout.write(summarize(moves))
    failed = [move for move in moves if move.state != MoveState.DONE]
    if failed:
        raise CommandError(f"{len(failed)} of {len(moves)} moves did not succeed; first error: {failed[0].error}")


def summarize(moves: list[Move]) -> str:
    """Pure. Number of moves done, rows copied per second, and how long partitions were held (took no flush)."""
    done = [move for move in moves if move.state == MoveState.DONE]
    held = [seconds * 1000 for move in done if (seconds := get_held_seconds(move)) is not None]
    rows, seconds = sum(move.rows_copied for move in done), sum(move.copy_seconds for move in done)
    text = f"{len(done)} of {len(moves)} partitions moved"
    if not held or not seconds:
        return text
    pauses = f"{median(held):.0f} ms (median), {max(held):.0f} ms (worst)"
    return f"{text}: {rows} rows, {rows / seconds:.0f} rows/s; held {pauses}"
