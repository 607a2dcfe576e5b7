"""Log-ins to the admin: how passwords are kept, and what becomes of those who guess them."""

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher, get_hasher
from django.contrib.auth.models import User
from django.test import Client

from viewcounter.apikeys.shared_buckets import BucketsUnavailable
from viewcounter.config import get_config
from viewcounter.web import log_in
from viewcounter.web.log_in import LogInLimits, get_log_in_limits

LOG_IN = "/admin/login/"
PASSWORD, GUESS = "correct horse battery", "wrong"
TRIES_OF_ADDRESS, TRIES_OF_NAME = 2, 3
"""A minute; so few that none comes back while a test runs."""


@pytest.fixture
def ada(servers, django_db_blocker, monkeypatch):
    """A user whose password was kept by an earlier release; limits that nothing was counted against."""
    monkeypatch.setenv("VIEWCOUNTER_LOG_IN_FAILURES_PER_MINUTE_OF_ADDRESS", str(TRIES_OF_ADDRESS))
    monkeypatch.setenv("VIEWCOUNTER_LOG_IN_FAILURES_PER_MINUTE_OF_NAME", str(TRIES_OF_NAME))
    get_config.cache_clear()
    with django_db_blocker.unblock():
        get_log_in_limits.cache_clear()
        forget(servers)
        user = User.objects.create_superuser("ada", password="x")
        user.password = Argon2PasswordHasher().encode(PASSWORD, "salt" * 6)
        user.save()
        yield user
        user.delete()
        get_log_in_limits.cache_clear()
        forget(servers)
    monkeypatch.undo()
    get_config.cache_clear()


def forget(servers):
    with servers.valkey("broker").connect() as client:
        client.select(1)
        for key in client.scan_iter("*log-in:*"):
            client.delete(key)


def try_log_in(name="ada", password=GUESS, address="192.0.2.1"):
    return Client(REMOTE_ADDR=address).post(LOG_IN, {"username": name, "password": password})


def count_hashes(monkeypatch):
    """How many passwords are checked from now on."""
    checked, verify = [], log_in.LogInForm.__mro__[1].clean
    monkeypatch.setattr(log_in.LogInForm.__mro__[1], "clean", lambda form: checked.append(form) or verify(form))
    return checked


def test_password_of_an_earlier_release_is_hashed_anew_at_its_log_in(ada):
    assert try_log_in(password=PASSWORD).status_code == 302
    ada.refresh_from_db()
    kept = get_hasher("default").decode(ada.password)
    assert (kept["memory_cost"], kept["time_cost"], kept["parallelism"]) == (47104, 1, 1)
    assert try_log_in(password=PASSWORD).status_code == 302


def test_address_with_failed_log_ins_is_refused_even_with_the_right_password(ada, monkeypatch):
    checked = count_hashes(monkeypatch)
    pages = [try_log_in(f"user{number}") for number in range(TRIES_OF_ADDRESS)]
    assert {page.status_code for page in pages} == {200}
    refused = try_log_in(password=PASSWORD)
    assert refused.status_code == 429
    assert 1 <= int(refused["Retry-After"]) <= 30
    assert "Too many log-ins failed" in refused.content.decode()
    assert len(checked) == TRIES_OF_ADDRESS
    assert try_log_in(password=PASSWORD, address="192.0.2.2").status_code == 302


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_name_with_failed_log_ins_is_refused_whether_it_exists_or_not(ada, monkeypatch, name):
    checked = count_hashes(monkeypatch)
    for number in range(TRIES_OF_NAME):
        assert try_log_in(name.upper() if number % 2 else name, address=f"192.0.2.{number}").status_code == 200
    refused = try_log_in(name, PASSWORD, address="198.51.100.1")
    assert (refused.status_code, len(checked)) == (429, TRIES_OF_NAME)
    assert try_log_in("somebody else", address="198.51.100.1").status_code == 200


def test_failed_log_ins_count_in_all_processes_and_without_the_cache_in_each(ada):
    for _ in range(TRIES_OF_ADDRESS):
        try_log_in()
    get_log_in_limits.cache_clear()  # as another process
    assert try_log_in().status_code == 429

    class Away:
        def take(self, _takes):
            raise BucketsUnavailable("away")

    limits = LogInLimits(of_address=2, of_name=5, max_buckets=10, shared=Away())
    waits = []
    for _ in range(3):
        waits.append(limits.find_wait_seconds("a", "ada"))
        limits.count_failure("a", "ada")
    assert waits[:2] == [None, None]
    assert 1 <= waits[2] <= 30
    assert limits.find_wait_seconds("b", "ada") is None
