"""Batches are written one after another, few wait, and nothing follows one that failed."""

import threading
from concurrent.futures import CancelledError

import pytest

from viewcounter.processing import flush_writer
from viewcounter.processing.flush_writer import FlushWriter, Written

WAIT_SECONDS = 30.0
MAX_QUEUED = 2


class Shard:
    """Writes what it is told once it is let; batches are just names here."""

    def __init__(self):
        self.opened = threading.Event()
        self.is_writing = threading.Event()
        self.written = []
        self.refuses = {}

    def write(self, batch):
        self.is_writing.set()
        assert self.opened.wait(WAIT_SECONDS)
        if batch in self.refuses:
            raise self.refuses[batch]
        self.written.append(batch)
        return Written(batch, as_judged=not str(batch).startswith("bad"))


@pytest.fixture
def shard():
    return Shard()


@pytest.fixture
def writer(shard):
    writer = FlushWriter(shard.write, max_queued=MAX_QUEUED)
    yield writer
    shard.opened.set()
    writer.close()


def open_sequence(writer, *, heard, watch=lambda: None):
    return writer.open_sequence(on_written=lambda written: heard.append(written.prepared), watch=watch)


def test_a_full_queue_makes_submit_wait_and_watch_until_the_shard_writes_again(writer, shard, monkeypatch):
    monkeypatch.setattr(flush_writer, "WATCH_SECONDS", 0.01)
    is_waiting, heard, submitted = threading.Event(), [], []
    sequence = open_sequence(writer, heard=heard, watch=is_waiting.set)

    def submit_ten():
        for batch in range(10):
            sequence.submit(batch, is_last=False)
            submitted.append(batch)
        sequence.settle()

    thread = threading.Thread(target=submit_ten)
    thread.start()
    assert is_waiting.wait(WAIT_SECONDS)
    assert submitted == list(range(1 + MAX_QUEUED))  # one is being written, the queue is full
    assert (shard.written, heard) == ([], [])
    shard.opened.set()
    thread.join(WAIT_SECONDS)
    assert shard.written == heard == list(range(10))


def test_nothing_is_written_after_a_batch_that_failed(writer, shard):
    shard.opened.set()
    shard.refuses = {1: RuntimeError("refused")}
    heard = []
    sequence = open_sequence(writer, heard=heard)
    with pytest.raises(RuntimeError, match="refused"):
        for batch in range(4):
            sequence.submit(batch, is_last=batch == 3)
        sequence.settle()
    sequence.abandon()
    with pytest.raises(CancelledError):
        sequence.submit(4, is_last=False)
        sequence.settle()
    assert shard.written == heard == [0]


def test_nothing_is_written_after_a_batch_that_left_events_out(writer, shard):
    shard.opened.set()
    heard = []
    sequence = open_sequence(writer, heard=heard)
    with pytest.raises(CancelledError):
        for batch in ("good", "bad", "judged against the bad one"):
            sequence.submit(batch, is_last=False)
        sequence.settle()
    assert shard.written == heard == ["good", "bad"]


def test_what_is_queued_when_a_drain_is_abandoned_is_not_written(writer, shard):
    heard = []
    sequence = open_sequence(writer, heard=heard)
    for batch in range(3):
        sequence.submit(batch, is_last=False)
    sequence.abandon()
    shard.opened.set()
    writer.close()
    assert shard.written in ([], [0])  # the first may have been under way
    assert heard == []


def test_dropping_what_is_queued_leaves_the_batch_that_is_being_written(writer, shard):
    heard = []
    sequence = open_sequence(writer, heard=heard)
    for batch in range(3):
        sequence.submit(batch, is_last=False)
    assert shard.is_writing.wait(WAIT_SECONDS)
    assert sequence.drop_queued()
    shard.opened.set()
    sequence.settle()
    assert shard.written == heard == [0]
    assert not sequence.drop_queued()


def test_a_batch_with_nothing_around_it_is_written_by_the_thread_that_submits_it(writer, shard):
    shard.opened.set()
    threads = []
    sequence = writer.open_sequence(on_written=lambda _: threads.append(threading.current_thread()), watch=lambda: None)
    sequence.submit(0, is_last=True)
    assert shard.written == [0]
    assert threads == [threading.current_thread()]
