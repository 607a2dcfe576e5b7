"""A password reference leads to passwords of instances, and to nothing else that our processes can read."""

import pytest

from configservice.topology.password_refs import PasswordRefNotAllowed, PasswordRefRules
from tests.settings import configure
from viewcounter.config import InvalidSettings


@pytest.fixture
def rules(tmp_path):
    """A folder with a password and a link to it, and a secret beside the folder."""
    folder = tmp_path / "passwords"
    folder.mkdir()
    (folder / "shard1").write_text("password")
    (folder / "by-link").symlink_to(folder / "shard1")
    (tmp_path / "secret_key").write_text("secret")
    (folder / "escape").symlink_to(tmp_path / "secret_key")
    (folder / "up").symlink_to(tmp_path)
    (tmp_path / "passwords-of-others").mkdir()
    (tmp_path / "other-way").symlink_to(folder)
    return PasswordRefRules(folder)


@pytest.mark.parametrize("place", ["passwords/shard1", "passwords/by-link", "passwords/not-there", "other-way/shard1"])
def test_files_below_the_folder_may_be_named(rules, tmp_path, place):
    rules.check(f"file:{tmp_path / place}")


@pytest.mark.parametrize(
    "place",
    [
        "secret_key",
        "passwords",
        "passwords/../secret_key",
        "passwords/shard1/../../secret_key",
        "passwords/escape",
        "passwords/up/secret_key",
        "passwords-of-others/x",
    ],
)
def test_nothing_outside_the_folder_may_be_named_by_whatever_way(rules, tmp_path, place):
    with pytest.raises(PasswordRefNotAllowed):
        rules.check(f"file:{tmp_path}/{place}")


@pytest.mark.parametrize("password_ref", ["file:passwords/shard1", "file:", "file:/\0", "hunter2", "env:", "env:HOME"])
def test_what_is_no_reference_of_ours_is_refused(rules, password_ref):
    with pytest.raises(PasswordRefNotAllowed):
        rules.check(password_ref)


def test_without_a_folder_no_file_may_be_named():
    with pytest.raises(PasswordRefNotAllowed, match="VIEWCOUNTER_POOL_PASSWORD_REFS_DIRECTORY is not set"):
        PasswordRefRules().check("file:/run/secrets/shard")


def test_variables_need_the_prefix():
    rules = PasswordRefRules(env_prefix="COUNTS_DB_")
    rules.check("env:COUNTS_DB_ONE")
    with pytest.raises(PasswordRefNotAllowed, match="env:VIEWCOUNTER_SECRET_KEY does not begin with COUNTS_DB_"):
        rules.check("env:VIEWCOUNTER_SECRET_KEY")


@pytest.mark.parametrize("prefix", ["", "V", "VIEWCOUNTER_", "VIEWCOUNTER_SECRET_KEY"])
def test_a_prefix_that_secrets_of_ours_have_is_refused_at_boot(prefix):
    with pytest.raises(InvalidSettings, match="VIEWCOUNTER_SECRET_KEY"):
        configure(pool_password_refs_env_prefix=prefix)
