"""Log lines: their shape, the fields that threads and tasks bind to them, and the levels of loggers of others."""

import asyncio
import json
import logging
import logging.config
import sys
import threading
from collections.abc import Iterator

import pytest

from runtime.logs import JsonFormatter, TextFormatter, add_log_fields, bind_log_fields, build_logging, log_fields

NAMED = tuple(build_logging("INFO", "text")["loggers"])


def make_record(message: str = "shard is %s", *args: object, **extra: object) -> logging.LogRecord:
    record = logging.LogRecord("viewcounter.x", logging.WARNING, "x.py", 1, message, args or ("down",), None)
    record.created, record.msecs, record.process = 1_800_000_000.25, 250.0, 47
    record.__dict__.update(extra)
    return record


def read_fields() -> dict[str, object]:
    line = json.loads(JsonFormatter().format(make_record()))
    return {name: line[name] for name in line if name not in {"time", "level", "logger", "message", "pid", "thread"}}


def test_a_text_line_has_the_time_in_utc_the_process_and_its_fields():
    with log_fields(shard="s1"):
        line = TextFormatter().format(make_record(partition=7))
    assert line == "2027-01-15T08:00:00.250Z WARNING viewcounter.x[47] shard is down shard=s1 partition=7"


def test_a_json_line_is_one_object_with_the_traceback_and_its_fields():
    record = make_record(partition=7)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record.exc_info = sys.exc_info()
    with log_fields(request_id="r-1"):
        text = JsonFormatter().format(record)
    line = json.loads(text)
    assert "\n" not in text
    assert line.pop("error").endswith("ValueError: two\nlines")
    assert line == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "WARNING",
        "logger": "viewcounter.x",
        "message": "shard is down",
        "pid": 47,
        "thread": threading.current_thread().name,
        "request_id": "r-1",
        "partition": 7,
    }


def test_fields_end_with_their_block_and_are_not_seen_by_other_threads_and_tasks():
    seen: list[dict[str, object]] = []
    with log_fields(shard="s1"):
        add_log_fields(partition=3)
        assert read_fields() == {"shard": "s1", "partition": 3}
        thread = threading.Thread(target=lambda: seen.append(read_fields()))
        thread.start()
        thread.join()
        thread = threading.Thread(target=bind_log_fields(lambda: seen.append(read_fields()), shard="s2"))
        thread.start()
        thread.join()
    assert seen == [{}, {"shard": "s2"}]
    assert read_fields() == {}


def test_requests_on_one_event_loop_keep_their_fields_apart():
    async def serve(request_id: str, others: asyncio.Barrier) -> dict[str, object]:
        with log_fields(request_id=request_id):
            await others.wait()
            add_log_fields(key_prefix=f"key of {request_id}")
            await others.wait()
            return await asyncio.to_thread(read_fields)

    async def run() -> list[dict[str, object]]:
        others = asyncio.Barrier(2)
        return await asyncio.gather(serve("a", others), serve("b", others))

    assert asyncio.run(run()) == [{"request_id": name, "key_prefix": f"key of {name}"} for name in "ab"]


@pytest.fixture
def loggers() -> Iterator[None]:
    """Puts back what a test configures."""
    names = ["", *NAMED]
    before = [(log := logging.getLogger(name), log.level, log.handlers[:], log.propagate) for name in names]
    yield
    for log, level, handlers, propagate in before:
        log.setLevel(level)
        log.handlers[:] = handlers
        log.propagate = propagate


@pytest.mark.parametrize(("level", "celery"), [("DEBUG", "WARNING"), ("INFO", "WARNING"), ("ERROR", "ERROR")])
def test_the_level_reaches_every_logger(level: str, celery: str, loggers: None):
    logging.getLogger("gunicorn.error").addHandler(logging.NullHandler())
    logging.config.dictConfig(build_logging(level, "json"))
    for name in ("viewcounter.x", "configservice.x", "shardproxy", "celery", "django.db", "gunicorn.error", "redis"):
        assert logging.getLevelName(logging.getLogger(name).getEffectiveLevel()) == level, name
    assert logging.getLevelName(logging.getLogger("celery.app.trace").level) == celery
    assert logging.getLogger("gunicorn.error").handlers == []


def test_mistakes_of_clients_are_no_warnings_of_operators(loggers: None):
    logging.config.dictConfig(build_logging("INFO", "json"))
    assert not logging.getLogger("django.request").isEnabledFor(logging.WARNING)
    assert logging.getLogger("django.request").isEnabledFor(logging.ERROR)
    assert not logging.getLogger("django.security.DisallowedHost").isEnabledFor(logging.ERROR)
