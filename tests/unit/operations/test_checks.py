"""Settings that would let a topology name our secrets."""

import pytest

from viewcounter.config import Config
from viewcounter.operations.checks import find_exposed_secrets


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
    config = Config(secret_key="k" * 50, password_ref_dir=password_ref_dir)
    assert [error.id for error in find_exposed_secrets(config, secrets_dir=secrets_dir)] == ids
