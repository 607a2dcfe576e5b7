"""A run small enough to check event by event."""

from datetime import UTC, date, datetime

import numpy as np
import pytest

from devtools.replay.dataset import DailyRow, Dataset
from devtools.replay.nonce import Nonce
from devtools.replay.timeline import Timeline, TimelinePlan, plan_timeline

NOW = datetime(2026, 3, 1, 12, 34, 56, 789_000, tzinfo=UTC)


def build_row(video_id: str, day: int, *counts: int) -> DailyRow:
    return DailyRow(video_id, f"Title of {video_id}", "Some channel", date(2017, 9, day), counts)


@pytest.fixture
def dataset() -> Dataset:
    return Dataset(
        rows=(
            build_row("a", 1, 1999, 100, 0, 99),
            build_row("b", 1, 50, 0, 0, 0),
            build_row("a", 2, 2500, 90, 0, 300),
            build_row("a", 4, 4000, 250, 100, 0),
            build_row("b", 4, 700, 0, 0, 0),
        )
    )


@pytest.fixture
def nonce() -> Nonce:
    return Nonce(end_ms=int(NOW.timestamp() * 1000), salt=7)


@pytest.fixture
def timeline(dataset: Dataset, nonce: Nonce) -> Timeline:
    return plan_timeline(dataset, plan=TimelinePlan(scale=10, day_length_seconds=3600, seed=1), nonce=nonce)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)
