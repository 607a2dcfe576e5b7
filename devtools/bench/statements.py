"""The statements of a flush with prepared parameters: the lower bound of its cost."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from shardproxy.instance import RowConnection
from viewcounter.storage.flush import apply_flush
from viewcounter.storage.flush_batch import FlushBatch
from viewcounter.storage.settings import DeadLetterLimits

_NOTHING_ROLLED = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Statement:
    """`rows` is the stream of a COPY."""

    text: str
    parameters: dict[str, Any] | None = None
    rows: list[bytes] = field(default_factory=list)


class _Recorder:
    """Takes the place of a flush's connection and records its statements."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []

    def execute(self, text: str, parameters: dict[str, Any]) -> Self:
        self.statements.append(Statement(text, parameters))
        return self

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows of the last statement: the compare-and-set succeeds, no video is new."""
        parameters = self.statements[-1].parameters or {}
        moved = parameters["partitions"] if "old_positions" in parameters else []
        return iter([{"partition": partition, "rolled_through": _NOTHING_ROLLED} for partition in moved])

    @contextmanager
    def cursor(self) -> Iterator[Self]:
        yield self

    @contextmanager
    def copy(self, text: str) -> Iterator[Self]:
        self.statements.append(Statement(text))
        yield self

    def write(self, rows: bytes) -> None:
        self.statements[-1].rows.append(rows)


def record_flush(batch: FlushBatch, *, limits: DeadLetterLimits) -> list[Statement]:
    recorder = _Recorder()
    apply_flush(recorder, batch, limits=limits)  # type: ignore[arg-type]
    return recorder.statements


def run_statements(connection: RowConnection, statements: list[Statement]) -> None:
    for statement in statements:
        if statement.parameters is None:
            with connection.cursor() as cursor, cursor.copy(statement.text) as copy:
                for rows in statement.rows:
                    copy.write(rows)
        else:
            connection.execute(statement.text, statement.parameters)
