"""Settings from variables and files: names, bounds, and errors that name variables and hold no values."""

import dataclasses
from pathlib import Path

import pytest

from configservice.settings import FailoverMode
from devtools.settings import DevtoolsConfig
from viewcounter.config import Config, InvalidSettings, read_settings
from viewcounter.config.reading import find_unknown_variables, list_settings, read_process_settings

SECRET = "s" * 50


def read(**variables: str) -> Config:
    return read_settings(Config, {"VIEWCOUNTER_SECRET_KEY": SECRET} | variables)


def test_a_variable_is_the_path_to_its_field():
    config = read(VIEWCOUNTER_POOL_QUERY_POINT_SECONDS="0.5", VIEWCOUNTER_CONFIGSERVICE_FAILOVER_MODE="manual")
    assert config.pool.query.point_seconds == 0.5
    assert config.configservice.failover_mode is FailoverMode.MANUAL
    assert config.pool.wait_seconds == 1.0


def test_no_two_settings_share_a_variable_and_each_has_a_description():
    settings = list(list_settings(DevtoolsConfig))
    assert len({found.variable for found in settings}) == len(settings)
    assert [found.variable for found in settings if not found.field.metadata["description"].endswith(".")] == []


def test_every_default_is_within_its_bounds():
    for found in list_settings(DevtoolsConfig):
        default = found.field.default
        if isinstance(default, int | float | str) and not found.is_required:
            assert found.read(str(default)) == default, found.variable


def test_a_setting_that_is_the_same_as_another_follows_it():
    config = read(VIEWCOUNTER_ACCEPT_FUTURE_SECONDS="60", VIEWCOUNTER_SPOOL_DIR="/spool")
    shared = (config.audit, config.recount, config.retention, config.sketch, config.sketch_read)
    assert {section.future_seconds for section in shared} == {60}
    assert config.readiness.spool_dir == Path("/spool")


def test_a_setting_that_is_the_same_as_another_has_its_default():
    settings = {found.path: found.field.default for found in list_settings(Config)}
    for section in dataclasses.fields(Config):
        for field in dataclasses.fields(section.metadata["section"]) if "section" in section.metadata else ():
            if "same_as" in field.metadata:
                assert field.default == settings[field.metadata["same_as"]]


def test_every_bad_setting_is_named_and_no_value_is_quoted():
    with pytest.raises(InvalidSettings) as caught:
        read_settings(
            Config,
            {
                "VIEWCOUNTER_SECRET_KEY": "hush",
                "VIEWCOUNTER_POOL_WAIT_SECONDS": "0",
                "VIEWCOUNTER_CLUSTER_ID": "hush",
                "VIEWCOUNTER_WORKER_METRICS_BIND": "hush",
                "VIEWCOUNTER_CONFIGSERVICE_LOG_KEEP_SHARE": "1.5",
            },
        )
    text = str(caught.value)
    assert "hush" not in text
    assert [problem.split(":")[0] for problem in text.split("; ")] == [
        "VIEWCOUNTER_SECRET_KEY",
        "VIEWCOUNTER_WORKER_METRICS_BIND",
        "VIEWCOUNTER_CLUSTER_ID",
        "VIEWCOUNTER_POOL_WAIT_SECONDS",
        "VIEWCOUNTER_CONFIGSERVICE_LOG_KEEP_SHARE",
    ]


def test_a_secret_key_is_required():
    with pytest.raises(InvalidSettings, match="VIEWCOUNTER_SECRET_KEY is required"):
        read_settings(Config, {})


def test_secrets_are_in_no_representation():
    config = read(VIEWCOUNTER_CONTROL_DATABASE_PASSWORD="hush", VIEWCOUNTER_LOG_URL="redis://:hush@log:6379/0")
    assert "hush" not in repr(config) and SECRET not in repr(config)


def test_the_environment_comes_before_the_file_and_the_file_before_secrets(tmp_path, monkeypatch):
    secrets, file = tmp_path / "secrets", tmp_path / "env"
    secrets.mkdir()
    for name in ("secret_key", "log_url", "cache_url", "broker_url"):
        (secrets / f"viewcounter_{name}").write_text(f"{'x' * 50} of the secret\n")
    (tmp_path / "outside").write_text("of another folder")
    (secrets / "viewcounter_site_proxy_addresses").symlink_to(tmp_path / "outside")
    file.write_text("VIEWCOUNTER_LOG_URL=of the file\nVIEWCOUNTER_CACHE_URL=of the file\n")
    monkeypatch.setenv("VIEWCOUNTER_ENV_FILE", str(file))
    monkeypatch.setenv("VIEWCOUNTER_SECRETS_DIR", str(secrets))
    monkeypatch.setenv("VIEWCOUNTER_CACHE_URL", "of the environment")
    monkeypatch.delenv("VIEWCOUNTER_LOG_URL", raising=False)
    monkeypatch.delenv("VIEWCOUNTER_BROKER_URL", raising=False)
    config = read_process_settings(Config)
    assert config.cache.url.get_secret_value() == "of the environment"
    assert config.log.url.get_secret_value() == "of the file"
    assert config.broker.url.get_secret_value() == f"{'x' * 50} of the secret"
    assert config.site.proxy_addresses == "127.0.0.1,::1"


def test_a_variable_that_names_no_setting_is_found():
    names = {found.variable for found in list_settings(DevtoolsConfig)}
    others = {"PATH", "VIEWCOUNTER_ENV_FILE", "VIEWCOUNTER_SHARD_PASSWORD", "VIEWCOUNTER_TEST_PACE"}
    assert find_unknown_variables(Config, names | others) == []
    for former in ("VIEWCOUNTER_HTTPS_ONLY", "VIEWCOUNTER_SHARD_SSLROOTCERT"):
        assert find_unknown_variables(Config, {*names, former}) == [former]


def test_a_process_warns_of_a_variable_that_names_no_setting(monkeypatch, caplog):
    monkeypatch.setenv("VIEWCOUNTER_SECRET_KEY", SECRET)
    monkeypatch.setenv("VIEWCOUNTER_HTTPS_ONLY", "no")
    read_process_settings(Config)
    assert "VIEWCOUNTER_HTTPS_ONLY is set and has no effect" in caplog.text


def test_a_password_in_a_file_is_read_anew_and_kept_while_the_file_is_gone(tmp_path, monkeypatch):
    file = tmp_path / "viewcounter_control_database_password"
    file.write_text("old\n")
    monkeypatch.setenv("VIEWCOUNTER_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("VIEWCOUNTER_SECRET_KEY", SECRET)
    monkeypatch.delenv("VIEWCOUNTER_CONTROL_DATABASE_PASSWORD", raising=False)
    monkeypatch.setenv("VIEWCOUNTER_ENV_FILE", str(tmp_path / "no-such-file"))
    password = read_process_settings(Config).control_database.password
    file.write_text("old\nnew\n")
    assert password.get_secret_value() == "old\nnew"
    file.write_text("")
    assert password.get_secret_value() == "old\nnew"
    file.unlink()
    assert password.get_secret_value() == "old\nnew"
    assert "new" not in repr(password)


def test_only_secrets_that_may_change_follow_their_files(tmp_path, monkeypatch):
    """Half of the processes with another secret key would refuse what the others sign."""
    file = tmp_path / "viewcounter_secret_key"
    file.write_text(SECRET)
    monkeypatch.setenv("VIEWCOUNTER_SECRETS_DIR", str(tmp_path))
    monkeypatch.delenv("VIEWCOUNTER_SECRET_KEY", raising=False)
    monkeypatch.setenv("VIEWCOUNTER_ENV_FILE", str(tmp_path / "no-such-file"))
    config = read_process_settings(Config)
    file.write_text("t" * 50)
    assert config.secret_key.get_secret_value() == SECRET
