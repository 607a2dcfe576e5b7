"""Log lines: one shape for our loggers, Django's, gunicorn's and Celery's, as text or as JSON, with fields.

What a line is about (a request, an API key, a shard, a partition) is bound once, by `log_fields` around the work or by
`add_log_fields` in it, and stands in every line that this thread or asyncio task writes meanwhile. A new thread, and
a task that outlives the request which starts it, begin without fields.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, TypeVar

T = TypeVar("T")

LogFormat = Literal["text", "json"]
FieldValue = str | int | float

FIELDS = (
    "request_id", "key_prefix", "shard", "partition",
    "method", "path", "status", "duration_ms", "client_address",
)  # fmt: skip
"""Names of fields, in the order in which they are written. Those of the second line are the access log's."""

ACCESS_LOGGER = "viewcounter.access"

_context: ContextVar[Mapping[str, FieldValue]] = ContextVar("log_fields", default={})  # noqa: B039 - never changed


@contextmanager
def log_fields(**fields: FieldValue) -> Iterator[None]:
    """Binds fields to the lines of this thread or task until the block ends. Names are those of FIELDS."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def add_log_fields(**fields: FieldValue) -> None:
    """Binds fields until the surrounding `log_fields` ends."""
    _context.set({**_context.get(), **fields})


def bind_log_fields(work: Callable[[], T], **fields: FieldValue) -> Callable[[], T]:
    """`work` with fields, for a thread that belongs to one shard or partition."""

    def run() -> T:
        with log_fields(**fields):
            return work()

    return run


def find_log_fields(record: logging.LogRecord) -> dict[str, FieldValue]:
    """Those of the line (`extra`) and those bound to the thread or task; the line's win."""
    bound = _context.get()
    values = ((name, record.__dict__.get(name, bound.get(name))) for name in FIELDS)
    return {name: value for name, value in values if value is not None}


def _write_time(record: logging.LogRecord) -> str:
    """RFC 3339 in UTC, with milliseconds."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


class TextFormatter(logging.Formatter):
    """`2026-01-31T08:00:00.000Z WARNING viewcounter.web[4711] message request_id=... shard=...`, and a traceback."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002 - logging's
        return _write_time(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in find_log_fields(record).items())
        return f"{record.asctime} {record.levelname} {record.name}[{record.process}] {record.message}{fields}"

    def usesTime(self) -> bool:
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, pid, thread, the fields, and `error` with the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _write_time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
            "thread": record.threadName,
            **find_log_fields(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, ensure_ascii=False, default=str)


def build_logging(level: str, style: LogFormat) -> dict[str, Any]:
    """For `logging.config.dictConfig`: everything goes to stderr; `level` holds for every logger not named here."""
    chatty = max(level, "WARNING", key=lambda name: logging.getLevelNamesMapping()[name])
    through_root = {"handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"text": {"()": TextFormatter}, "json": {"()": JsonFormatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": style}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Whether there is an access log is a setting of its own, not a question of the level.
            ACCESS_LOGGER: {"level": "INFO"},
            # Both bring handlers and levels of their own.
            "gunicorn.error": {"level": level, **through_root},
            "uvicorn.error": {"level": level, **through_root},
            # Django warns of each answer 4xx. A client's mistake is told to the client, and counted.
            "django": {"level": level, **through_root},
            "django.request": {"level": "ERROR"},
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            # a line for each task that is sent, received or done; what fails is a warning or worse
            "celery.beat": {"level": chatty},
            "celery.worker.strategy": {"level": chatty},
            "celery.worker.request": {"level": chatty},
            "celery.app.trace": {"level": chatty},
            "psycopg.pool": {"level": "ERROR"},  # each failed attempt is counted and reported by the shard proxy
        },
    }
