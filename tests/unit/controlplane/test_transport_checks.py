"""What a deployment is warned of about the way to its servers."""

import pytest

from tests.settings import configure
from viewcounter.controlplane.transport_checks import find_plain_transports


def find(**settings: object) -> list[str]:
    config = configure(**settings)
    return [f"{message.id}: {message.msg}" for message in find_plain_transports(config)]


def test_servers_of_this_machine_need_no_tls():
    assert find() == []


@pytest.mark.parametrize("name", ["log_url", "broker_url", "cache_url"])
def test_a_valkey_server_elsewhere_wants_verified_tls(name):
    setting = f"VIEWCOUNTER_{name.upper()}"
    [plain] = find(**{name: "redis://user:s3cret@valkey:6379/0"})
    assert plain.startswith(f"viewcounter.W001: {setting} reaches valkey without TLS")
    [unverified] = find(**{name: "rediss://valkey:6379/0?ssl_cert_reqs=none"})
    assert unverified == f"viewcounter.W002: {setting} does not verify the certificate of valkey."
    assert find(**{name: "rediss://valkey:6379/0"}) == []


def test_a_control_database_elsewhere_has_to_prove_its_name():
    [found] = find(control_database_host="db", control_database_sslmode="require")
    assert found.startswith("viewcounter.W003: VIEWCOUNTER_CONTROL_DATABASE_SSLMODE is require")
    assert find(control_database_host="db", control_database_sslmode="verify-full") == []
