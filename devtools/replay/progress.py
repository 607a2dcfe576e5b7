"""Progress of a run on stderr: a bar on a terminal, else a line now and then."""

from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from devtools.replay.run import Step

LINES_PER_STEP = 20
_TEXTS = {
    Step.CATALOGUE: "Loading channels and videos",
    Step.BASELINE: "Reading present counts",
    Step.SEND: "Sending events",
    Step.WAIT: "Waiting until all are applied",
    Step.COMPARE: "Comparing hours",
}


class ReplayProgress:
    """Context manager; an instance is the `on_progress` callback of `run_replay`. Restores the terminal."""

    def __init__(self, stream: TextIO) -> None:
        console = Console(file=stream)
        self._stream = stream
        self._bar = _create_bar(console) if console.is_terminal else None
        self._task: TaskID | None = None
        self._step: Step | None = None
        self._lines = 0

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, step: Step, done: int, total: int | None) -> None:
        """`total` is None for a step of unknown length."""
        if self._bar is not None:
            self._move_bar(self._bar, step, done, total)
        else:
            self._print_line(step, done, total)
        self._step = step

    def _print_line(self, step: Step, done: int, total: int | None) -> None:
        """One line at the start of a step and at every twentieth of it."""
        lines = done * LINES_PER_STEP // total if total else 0
        if step == self._step and lines == self._lines:
            return
        self._lines = lines
        print(_TEXTS[step] + (f": {done} of {total}" if total else ""), file=self._stream, flush=True)

    def _move_bar(self, bar: Progress, step: Step, done: int, total: int | None) -> None:
        if step != self._step:
            self._finish_task(bar)
            self._task = bar.add_task(_TEXTS[step], total=total)
        if self._task is not None:
            bar.update(self._task, completed=done)

    def _finish_task(self, bar: Progress) -> None:
        """Complete the bar of the previous step."""
        if self._task is not None:
            total = bar.tasks[self._task].total or 1
            bar.update(self._task, total=total, completed=total)


def _create_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<32}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
