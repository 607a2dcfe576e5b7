"""`manage.py use_signing_key`: not before every living process accepts the new key. The registry is a real one."""

import io
from pathlib import Path

import pytest
import redis
from django.core.management import CommandError, call_command

from configservice.registry.heartbeat import start_heartbeat
from configservice.registry.services import ServiceKind, format_registry_keys, read_services
from configservice.topology.signing import make_signing_key_file, read_signing_key
from tests.pace import limit
from tests.waiting import wait_until

DEAD_URL = "redis://127.0.0.1:1/0"


@pytest.fixture
def public_keys(tmp_path: Path) -> Path:
    return tmp_path / "public"


@pytest.fixture
def keys(cluster_cache, settings, tmp_path: Path, public_keys: Path):
    """The old one, with which the config services of this host sign, and the new one. A process knows the old one."""
    old, new = (make_signing_key_file(tmp_path / name) for name in ("old", "new"))
    public_keys.write_text(f"{old.public}\n")
    settings.TOPOLOGY_CACHE_URL, settings.CLUSTER_ID = cluster_cache.url, cluster_cache.cluster_id
    settings.TOPOLOGY_PUBLIC_KEYS, settings.SERVICE_HEARTBEAT_SECONDS = f"file:{public_keys}", 0.02
    settings.TOPOLOGY_SIGNING_KEY_FILE = tmp_path / "old"
    with redis.Redis.from_url(cluster_cache.url, socket_timeout=limit(5)) as client:
        client.delete(*format_registry_keys(cluster_cache))
    heartbeat = start_heartbeat(kind=ServiceKind.GATEWAY)
    await_known(cluster_cache, old.id)
    yield old, new
    heartbeat.stop()


def await_known(cluster_cache, *key_ids: str) -> None:
    def read() -> list[tuple[str, ...] | None]:
        return [found.service.public_keys for found in read_services(cluster_cache, lost_seconds=10.0)]

    wait_until(lambda: read() == [key_ids], what=f"a process that knows {key_ids}")


def replace(new: Path, *options: str) -> str:
    out = io.StringIO()
    call_command("use_signing_key", str(new), *options, stdout=out, stderr=out)
    return out.getvalue()


def test_a_key_that_a_process_lacks_is_refused_until_it_knows_it(cluster_cache, keys, tmp_path, public_keys):
    old, new = keys
    with pytest.raises(CommandError, match=rf"1 processes do not know key {new.id}: gateway .* is unchanged; --force"):
        replace(tmp_path / "new")
    assert read_signing_key(tmp_path / "old").id == old.id
    public_keys.write_text(f"{old.public}\n{new.public}\n")
    await_known(cluster_cache, old.id, new.id)
    assert new.id in replace(tmp_path / "new")
    assert read_signing_key(tmp_path / "old").id == new.id
    assert not (tmp_path / "new").exists()


def test_a_key_is_replaced_by_force(keys, tmp_path):
    assert "warning: 1 processes do not know" in replace(tmp_path / "new", "--force")
    assert read_signing_key(tmp_path / "old").id == keys[1].id


def test_without_the_registry_it_is_not_known_who_accepts_the_key(keys, tmp_path, settings):
    settings.TOPOLOGY_CACHE_URL = DEAD_URL
    with pytest.raises(CommandError, match="the service registry does not answer"):
        replace(tmp_path / "new")


def test_a_host_that_does_not_sign_has_no_key_to_replace(settings, tmp_path):
    settings.TOPOLOGY_SIGNING_KEY_FILE = None
    with pytest.raises(CommandError, match="run this on a host of a config service"):
        replace(tmp_path / "new")


def test_a_file_without_a_key_replaces_nothing(keys, tmp_path):
    (tmp_path / "broken").write_text("no key")
    with pytest.raises(CommandError, match="broken holds no unencrypted private key"):
        replace(tmp_path / "broken", "--force")
    assert read_signing_key(tmp_path / "old").id == keys[0].id
