"""In which order sources are asked, and when the search ends."""

import pytest

from clusterproxy.errors import SourceUnavailable
from clusterproxy.source import FirstAnswer
from tests.unit.clusterproxy.builders import build_topology
from tests.unit.clusterproxy.shelf import Shelf


def test_a_new_process_takes_the_newest_of_all_sources():
    cache, database = Shelf(build_topology(epoch=3)), Shelf(build_topology(epoch=4))
    assert FirstAnswer([cache, database]).fetch(0).epoch == 4
    assert FirstAnswer([Shelf(None), database]).fetch(0).epoch == 4


def test_the_true_source_is_spared_while_the_cache_answers():
    cache, database = Shelf(build_topology(epoch=3)), Shelf(build_topology(epoch=3))
    source = FirstAnswer([cache, database], thorough_seconds=3600.0)
    source.fetch(0)
    for _ in range(10):
        assert source.fetch(3) is None
    assert (cache.asked_count, database.asked_count) == (11, 1)


def test_a_cache_that_missed_a_publish_is_not_believed_for_ever():
    source = FirstAnswer([Shelf(build_topology(epoch=3)), Shelf(build_topology(epoch=4))], thorough_seconds=0.0)
    assert source.fetch(3).epoch == 4


def test_a_dead_cache_is_passed_over():
    source = FirstAnswer([Shelf(None, down=True), Shelf(build_topology(epoch=4))])
    assert source.fetch(3).epoch == 4


def test_only_when_all_are_down_it_is_down():
    with pytest.raises(SourceUnavailable, match="ConnectionError: down; ConnectionError: down"):
        FirstAnswer([Shelf(None, down=True), Shelf(None, down=True)]).fetch(3)
