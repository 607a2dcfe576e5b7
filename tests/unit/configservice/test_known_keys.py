"""Which processes would refuse a topology that is signed by one key alone."""

from datetime import UTC, datetime

from configservice.registry.known_keys import KeyHolder, describe_known_keys, find_lacking, list_names
from configservice.registry.services import RegisteredService, Service, ServiceKind, ServiceState, list_key_holders

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_those_that_know_other_keys_only_or_do_not_tell_lack_it():
    holders = [
        KeyHolder("both", ["old", "new"]),
        KeyHolder("old alone", ["old"]),
        KeyHolder("verifies nothing", []),
        KeyHolder("earlier release", None),
    ]
    assert find_lacking(holders, "new") == ["old alone", "earlier release"]
    assert describe_known_keys(holders[:3]) == [
        "public key new: 1 of 3 processes do not know it: old alone",
        "public key old: all 3 processes accept it",
    ]
    assert describe_known_keys(holders[2:]) == []


def test_many_names_are_cut():
    assert list_names(list("abcdefg")) == "a, b, c, d, e and 2 more"


def test_a_process_that_is_lost_or_stops_is_not_asked():
    services = [
        RegisteredService(
            Service(state.value, ServiceKind.WORKER, "h", number, "1", "z", NOW, state, public_keys=("k",)), NOW, 0.0
        )
        for number, state in enumerate(ServiceState)
    ]
    assert [holder.name for holder in list_key_holders(services)] == ["worker h:0", "worker h:1", "worker h:2"]
