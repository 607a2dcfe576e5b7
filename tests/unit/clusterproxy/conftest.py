"""Topology stores that end with their test."""

import pytest

from clusterproxy.settings import ClusterSettings
from clusterproxy.store import TopologyStore


@pytest.fixture
def open_store(tmp_path):
    stores = []

    def open_one(
        shelf,
        *,
        seen=None,
        on_change=None,
        on_refused=None,
        poll_seconds=0.01,
        fed_poll_seconds=0.01,
        feed=None,
        refresh_min_seconds=0.0,
        cluster_id="",
        keys=(),
    ):
        settings = ClusterSettings(
            id=cluster_id,
            topology_public_keys=",".join(key.public for key in keys),
            topology_poll_seconds=poll_seconds,
            topology_fed_poll_seconds=fed_poll_seconds,
            topology_refresh_min_seconds=refresh_min_seconds,
        )
        store = TopologyStore(
            [shelf],
            settings,
            state_dir=tmp_path,
            on_change=on_change or (seen if seen is not None else []).append,
            on_refused=on_refused,
            feed=feed,
        )
        stores.append(store)
        return store

    yield open_one
    for store in stores:
        store.close()
