"""Known keys for the endpoint, and an empty cache after each test."""

from collections.abc import Iterator

import pytest

from tests.unit.ingest.builders import READER, WRITER, FaultyLog, know_key
from viewcounter.apikeys.authentication import get_key_cache
from viewcounter.apikeys.scopes import Scope


@pytest.fixture(autouse=True)
def known_keys() -> Iterator[None]:
    know_key(WRITER, Scope.EVENTS_WRITE)
    know_key(READER, Scope.STATS_READ)
    yield
    get_key_cache().clear()


@pytest.fixture
def log() -> FaultyLog:
    return FaultyLog()
