from collections.abc import Iterator

import pytest
from pytest_django.plugin import DjangoDbBlocker

from clusterproxy.proxy import ClusterProxy
from viewcounter.catalogue.models import Channel, Video


@pytest.fixture
def empty_catalogue(clean_cluster: ClusterProxy, django_db_blocker: DjangoDbBlocker) -> Iterator[ClusterProxy]:
    """An empty catalogue, in the cluster's own control database and on the shards."""
    with django_db_blocker.unblock():
        Video.objects.all().delete()
        Channel.objects.all().delete()
        for shard in clean_cluster.topology.shards:
            with clean_cluster.shard_transaction(shard.id) as connection:
                connection.execute("DELETE FROM catalogue_cursor")
        yield clean_cluster
