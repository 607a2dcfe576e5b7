"""Batches are written one after another, few wait, and nothing follows one that failed."""

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

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
        return Written(batch, is_unchanged=not str(batch).startswith("bad"))


@pytest.fixture
def shard():
    return Shard()


@pytest.fixture
def thread(shard):
    thread = ThreadPoolExecutor(max_workers=1)
    yield thread
    shard.opened.set()
    thread.shutdown(cancel_futures=True)


def make_writer(shard, thread, *, heard, watch=lambda: None):
    return FlushWriter(
        shard.write,
        thread,
        max_queued=MAX_QUEUED,
        on_written=lambda written: heard.append(written.batches),
        watch=watch,
    )


def test_a_full_queue_makes_submit_wait_and_watch_until_the_shard_writes_again(shard, thread, monkeypatch):
    monkeypatch.setattr(flush_writer, "WATCH_SECONDS", 0.01)
    is_waiting, heard, submitted = threading.Event(), [], []
    writer = make_writer(shard, thread, heard=heard, watch=is_waiting.set)

    def submit_ten():
        for batch in range(10):
            writer.submit(batch, is_last=False)
            submitted.append(batch)
        writer.settle()

    submitting = threading.Thread(target=submit_ten)
    submitting.start()
    assert is_waiting.wait(WAIT_SECONDS)
    assert submitted == list(range(1 + MAX_QUEUED))  # one is being written, the queue is full
    assert (shard.written, heard) == ([], [])
    shard.opened.set()
    submitting.join(WAIT_SECONDS)
    assert shard.written == heard == list(range(10))


def test_nothing_is_written_after_a_batch_that_failed(shard, thread):
    shard.opened.set()
    shard.refuses = {1: RuntimeError("refused")}
    heard = []
    writer = make_writer(shard, thread, heard=heard)
    with pytest.raises(RuntimeError, match="refused"):
        for batch in range(4):
            writer.submit(batch, is_last=batch == 3)
        writer.settle()
    writer.abandon()
    with pytest.raises(CancelledError):
        writer.submit(4, is_last=False)
        writer.settle()
    assert shard.written == heard == [0]


def test_nothing_is_written_after_a_batch_that_left_events_out(shard, thread):
    shard.opened.set()
    heard = []
    writer = make_writer(shard, thread, heard=heard)
    with pytest.raises(CancelledError):
        for batch in ("good", "bad", "judged against the bad one"):
            writer.submit(batch, is_last=False)
        writer.settle()
    assert shard.written == heard == ["good", "bad"]


def test_what_is_queued_when_a_drain_is_abandoned_is_not_written(shard, thread):
    heard = []
    writer = make_writer(shard, thread, heard=heard)
    for batch in range(3):
        writer.submit(batch, is_last=False)
    writer.abandon()
    shard.opened.set()
    thread.shutdown(cancel_futures=True)
    assert shard.written in ([], [0])  # the first may have been under way
    assert heard == []


def test_dropping_what_is_queued_leaves_the_batch_that_is_being_written(shard, thread):
    heard = []
    writer = make_writer(shard, thread, heard=heard)
    for batch in range(3):
        writer.submit(batch, is_last=False)
    assert shard.is_writing.wait(WAIT_SECONDS)
    assert writer.drop_queued()
    shard.opened.set()
    writer.settle()
    assert shard.written == heard == [0]
    assert not writer.drop_queued()


def test_a_batch_with_nothing_around_it_is_written_by_the_thread_that_submits_it(shard, thread):
    shard.opened.set()
    threads = []
    writer = FlushWriter(
        shard.write,
        thread,
        max_queued=MAX_QUEUED,
        on_written=lambda _: threads.append(threading.current_thread()),
        watch=lambda: None,
    )
    writer.submit(0, is_last=True)
    assert shard.written == [0]
    assert threads == [threading.current_thread()]
