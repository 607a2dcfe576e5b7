"""A browser, a running gateway, and a site on other origins."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.localcluster.cluster import LocalCluster
from tests.browser.chromium import Chromium, find_chromium
from tests.browser.site import Site
from viewcounter.apikeys.authentication import get_key_cache
from viewcounter.apikeys.models import ApiKey


@pytest.fixture(scope="session", autouse=True)
def chromium() -> list[str]:
    """Before any server is started: where there is no browser, nothing is."""
    return find_chromium()


@pytest.fixture
def browser(chromium: list[str], tmp_path: Path) -> Iterator[Chromium]:
    with Chromium(chromium, profile=tmp_path) as browser:
        yield browser


@pytest.fixture
def web(browser: Chromium, servers: LocalCluster) -> Iterator[LocalCluster]:
    application = servers.application("web")
    application.start()
    try:
        application.wait_ready()
        yield servers
    finally:
        application.stop()


@pytest.fixture
def site(browser: Chromium, web: LocalCluster, django_db_blocker) -> Iterator[Site]:
    site = Site(browser, web)
    with django_db_blocker.unblock():
        yield site
        ApiKey.objects.all().delete()
        get_key_cache().clear()
    site.close()
