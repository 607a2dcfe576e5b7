"""Members of a control database under Patroni: which there are, and what is refused before anything starts."""

from pathlib import Path

import pytest

from devtools.localcluster import patroni
from devtools.localcluster.account import Account
from devtools.localcluster.binaries import PostgresPrograms
from devtools.localcluster.errors import StateUnusable
from devtools.localcluster.patroni import choose_members, find_python, get_port_names
from devtools.localcluster.placement import Placement
from devtools.localcluster.postmaster import find_postmaster


@pytest.fixture
def placement(tmp_path: Path) -> Placement:
    programs = PostgresPrograms(bin_dir=tmp_path, major=18, has_statement_statistics=False)
    return Placement(account=None, data_root=tmp_path, programs=programs)


def test_the_first_start_decides_how_many_members_there_are(placement):
    assert choose_members(placement, wanted=0) == ()
    names = choose_members(placement, wanted=2)
    assert names == ("control1", "control2", "control3")
    for name in names:
        (placement.data_root / name).mkdir()
    assert choose_members(placement, wanted=0) == choose_members(placement, wanted=2) == names
    with pytest.raises(StateUnusable, match="made with 2 replicas, not 4"):
        choose_members(placement, wanted=4)


def test_a_control_database_of_one_server_gets_no_members_later(placement):
    (placement.data_root / "control").mkdir()
    assert choose_members(placement, wanted=0) == ()
    with pytest.raises(StateUnusable, match="made with 0 replicas, not 2"):
        choose_members(placement, wanted=2)


def test_each_member_has_ports_of_its_own():
    ports = [port for name in ("control1", "control2") for port in get_port_names(name)]
    assert len(ports) == len(set(ports)) == 6


def test_an_account_that_can_run_no_python_with_patroni_is_refused(monkeypatch):
    find_python.cache_clear()
    monkeypatch.setattr(patroni, "can_run", lambda _argv, account: account is None)
    with pytest.raises(StateUnusable, match="the account nobody can run neither"):
        find_python(Account("nobody", 65534, 65534))


def test_an_environment_without_patroni_is_refused_by_the_name_of_what_to_install(monkeypatch):
    find_python.cache_clear()
    monkeypatch.setattr(patroni, "can_run", lambda _argv, _account: False)
    with pytest.raises(StateUnusable, match=r"requirements-patroni\.lock"):
        find_python(None)


def test_a_pid_file_of_a_server_that_is_gone_names_nobody(tmp_path):
    assert find_postmaster(tmp_path) is None
    (tmp_path / "postmaster.pid").write_text("1\n")
    assert find_postmaster(tmp_path) is None
    (tmp_path / "postmaster.pid").write_text("not a pid\n")
    assert find_postmaster(tmp_path) is None
