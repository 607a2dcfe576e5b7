"""Settings that would let a topology name our secrets."""

import pytest

from configservice.topology.signing import make_signing_key_file
from tests.settings import configure
from viewcounter.controlplane.checks import (
    find_exposed_secrets,
    find_public_key_errors,
    find_signing_key_errors,
)


@pytest.mark.parametrize(
    ("password_ref_dir", "secrets_dir", "ids"),
    [
        ("/run/secrets", "/run/secrets", ["viewcounter.E004"]),
        ("/run", "/run/secrets", ["viewcounter.E004"]),
        ("/run/secrets/shards", "/run/secrets", []),
        ("/run/secrets", "", []),
        (None, "/run/secrets", []),
    ],
)
def test_a_folder_of_passwords_that_holds_our_secrets_is_refused(password_ref_dir, secrets_dir, ids):
    config = configure(**({"pool_password_refs_directory": password_ref_dir} if password_ref_dir else {}))
    assert [error.id for error in find_exposed_secrets(config, secrets_dir=secrets_dir)] == ids


def test_a_deployment_that_verifies_no_topology_is_refused():
    config = configure(cluster_topology_public_keys="")
    assert [error.id for error in find_public_key_errors(config)] == ["viewcounter.E005"]


def test_a_signing_key_must_be_one_that_processes_believe(tmp_path):
    key, other = (make_signing_key_file(tmp_path / name) for name in ("key", "other"))
    (tmp_path / "none").write_text("none")

    def check(file, *public):
        settings = {"configservice_signing_key_file": tmp_path / file, "cluster_topology_public_keys": ",".join(public)}
        return [error.id for error in find_signing_key_errors(configure(**settings))]

    assert check("key", key.public) == check("key", other.public, key.public) == check("key") == []
    assert check("key", other.public) == ["viewcounter.E007"]
    assert check("none", key.public) == check("nowhere", key.public) == ["viewcounter.E006"]
