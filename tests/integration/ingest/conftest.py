"""The control database with its ORM opened to tests, and a real web process in front of a real log."""

from collections.abc import Iterator

import pytest

from devtools.localcluster.cluster import LocalCluster
from viewcounter.apikeys.authentication import get_key_cache
from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.models import ApiKey
from viewcounter.apikeys.scopes import Scope


@pytest.fixture
def control_database(servers: LocalCluster, django_db_blocker) -> Iterator[LocalCluster]:
    """The session's control database without any API key, before and after."""
    with django_db_blocker.unblock():
        ApiKey.objects.all().delete()
        get_key_cache().clear()
        yield servers
        ApiKey.objects.all().delete()
        get_key_cache().clear()


@pytest.fixture(scope="module")
def web(servers: LocalCluster, django_db_blocker) -> Iterator[LocalCluster]:
    """The session's servers with the web process running; stopped after the module."""
    application = servers.application("web")
    application.start()
    try:
        application.wait_ready()
        yield servers
    finally:
        application.stop()


@pytest.fixture(scope="module")
def write_token(web: LocalCluster, django_db_blocker) -> Iterator[str]:
    with django_db_blocker.unblock():
        key, token = create_key("writer", [Scope.EVENTS_WRITE])
        yield token
        key.delete()
