"""Progress of moves: a bar for the current move on a terminal, else a line for each step."""

from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from configservice.models import Move
from viewcounter.moves.answers import get_held_seconds, get_progress


def describe_move(move: Move) -> str:
    """One line: the move, its state, rows copied, how long the partition was held, and the last error."""
    parts = [f"move {move.pk}: {move}: {move.state}"]
    if move.copy_seconds:
        parts.append(f"{move.rows_copied} rows, {move.rows_copied / move.copy_seconds:.0f} rows/s")
    held_seconds = get_held_seconds(move)
    if held_seconds is not None:
        parts.append(f"held {held_seconds * 1000:.0f} ms")
    if move.error:
        parts.append(move.error)
    return "; ".join(parts)


class MoveProgress:
    """Context manager; an instance is the `on_move` callback of `drive`. Restores the terminal."""

    def __init__(self, stream: TextIO, *, total: int) -> None:
        console = Console(file=stream)
        self._stream = stream
        self._total = total
        self._last: tuple[int, str, str] | None = None
        self._tasks: dict[int, TaskID] = {}
        self._bar = (
            Progress(
                TextColumn("{task.description:<48}"), BarColumn(), TextColumn("{task.fields[state]:<12}"),
                TimeElapsedColumn(), console=console,
            )
            if console.is_terminal
            else None
        )  # fmt: skip

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, move: Move) -> None:
        if self._bar is None:
            seen = (move.pk, move.state, move.error)
            if seen != self._last:
                print(describe_move(move), file=self._stream, flush=True)
            self._last = seen
            return
        if move.pk not in self._tasks:
            text = f"{len(self._tasks) + 1} of {self._total}: {move}"
            self._tasks[move.pk] = self._bar.add_task(text, total=1.0, state=move.state)
        self._bar.update(self._tasks[move.pk], completed=get_progress(move) or 0.0, state=move.state)
