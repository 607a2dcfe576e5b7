"""What a process believes by its signature, its origin and what was seen before."""

import pytest

from clusterproxy.trust import RefusalReason, SnapshotRefused, TopologyTrust
from configservice.topology.published_snapshot import PublishedSnapshot, build_published_snapshot
from configservice.topology.signing import make_signing_key_file
from tests.unit.clusterproxy.builders import CLUSTER_ID, build_topology
from tests.unit.clusterproxy.shelf import sign


@pytest.fixture
def keys(tmp_path):
    return [make_signing_key_file(tmp_path / name) for name in ("ours", "new", "foreign")]


def make_trust(*keys, cluster_id=CLUSTER_ID):
    return TopologyTrust(cluster_id=cluster_id, public_keys=",".join(key.public for key in keys))


def judge(trust, published, *, is_open=False):
    """The reason of a refusal; None: believed, and held."""
    try:
        trust.hold(trust.check(published, place="somewhere", is_open=is_open))
    except SnapshotRefused as refusal:
        return refusal.reason
    return None


def test_what_our_key_has_signed_is_believed_of_every_place(keys):
    ours, _, _ = keys
    for is_open in (True, False):
        assert judge(make_trust(ours), sign(build_topology(), ours), is_open=is_open) is None


@pytest.mark.parametrize("is_open", [True, False])
def test_what_a_foreign_key_has_signed_is_believed_of_no_place(keys, is_open):
    ours, _, foreign = keys
    trust = make_trust(ours)
    assert judge(trust, sign(build_topology(), foreign), is_open=is_open) is RefusalReason.WRONG_SIGNATURE
    forged = PublishedSnapshot(sign(build_topology(epoch=9), ours).snapshot, sign(build_topology(), ours).signatures)
    assert judge(trust, forged, is_open=is_open) is RefusalReason.WRONG_SIGNATURE


def test_unsigned_ones_are_believed_of_our_own_places_until_the_first_signed_one(keys):
    ours, _, _ = keys
    trust = make_trust(ours)
    assert judge(trust, sign(build_topology(epoch=1)), is_open=True) is RefusalReason.UNSIGNED
    assert judge(trust, sign(build_topology(epoch=1))) is None
    assert judge(trust, sign(build_topology(epoch=2))) is None
    assert judge(trust, sign(build_topology(epoch=2), ours), is_open=True) is None
    assert judge(trust, sign(build_topology(epoch=3))) is RefusalReason.UNSIGNED
    assert judge(trust, sign(build_topology(epoch=3), ours)) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"epoch": 9, "partitions": 16}, RefusalReason.OTHER_PARTITION_COUNT),
        ({"epoch": 9, "cluster_id": "another"}, RefusalReason.OTHER_CLUSTER),
        ({"epoch": 4}, RefusalReason.OLDER_EPOCH),
        ({"epoch": 5, "term": 2}, RefusalReason.SAME_EPOCH_OTHER_CONTENT),
    ],
)
def test_our_own_signature_does_not_make_a_contradiction_true(keys, change, reason):
    ours, _, _ = keys
    trust = make_trust(ours)
    assert judge(trust, sign(build_topology(epoch=5), ours)) is None
    assert judge(trust, sign(build_topology(**change), ours), is_open=True) is reason
    assert trust.held.topology == build_topology(epoch=5)


def test_without_keys_nothing_is_verified_and_open_places_are_not_believed(keys):
    ours, _, _ = keys
    trust = make_trust()
    assert judge(trust, sign(build_topology(epoch=1)), is_open=True) is RefusalReason.UNSIGNED
    assert judge(trust, sign(build_topology(epoch=1))) is None
    assert judge(trust, sign(build_topology(epoch=2), ours)) is None
    assert judge(trust, sign(build_topology(epoch=3))) is None


def test_keys_are_exchanged_by_adding_signing_again_and_removing(keys):
    old, new, _ = keys
    before, both, after = make_trust(old), make_trust(old, new), make_trust(new)
    published = sign(build_topology(epoch=1), old)
    assert [judge(trust, published) for trust in (before, both)] == [None, None]
    # Config services have the new key and sign the newest again: everybody goes on, and who starts with the new list.
    again = sign(build_topology(epoch=1), old, new)
    assert [judge(trust, again) for trust in (before, both, after)] == [None, None, None]
    assert both.held.published == again
    later = sign(build_topology(epoch=2), new)
    assert [judge(trust, later) for trust in (both, after)] == [None, None]
    assert judge(before, later) is RefusalReason.WRONG_SIGNATURE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"generation": 2, "epoch": 1}, None),
        ({"generation": 1, "epoch": 6}, None),
        ({"generation": 1, "epoch": 5}, None),
        ({"generation": 1, "epoch": 4}, RefusalReason.OLDER_EPOCH),
        ({"generation": 0, "epoch": 10**6}, RefusalReason.OLDER_EPOCH),
        ({"generation": 1, "epoch": 5, "term": 2}, RefusalReason.SAME_EPOCH_OTHER_CONTENT),
    ],
)
def test_generation_comes_before_epoch_in_the_order_of_topologies(keys, change, reason):
    ours, _, _ = keys
    trust, held = make_trust(ours), build_topology(generation=1, epoch=5)
    assert judge(trust, sign(held, ours)) is None
    assert judge(trust, sign(build_topology(**change), ours), is_open=True) is reason
    assert trust.held.topology == (held if reason else build_topology(**change))


def test_snapshot_of_the_previous_release_has_generation_0_and_a_valid_signature(keys):
    ours, _, _ = keys
    text = build_published_snapshot(build_topology(epoch=5)).snapshot.replace(',"generation":0', "")
    assert "generation" not in text
    published = PublishedSnapshot(text, {ours.id: ours.sign(text)})
    trust = make_trust(ours)
    assert judge(trust, published, is_open=True) is None
    assert trust.held.topology.version == (0, 5)
    assert judge(trust, sign(build_topology(epoch=1, generation=1), ours), is_open=True) is None


def test_keys_in_a_file_are_exchanged_without_a_restart(keys, tmp_path):
    """The new one is added, signs, and the old one is removed: what the old one has signed is refused from then on."""
    ours, new, _ = keys
    file = tmp_path / "public_keys"
    file.write_text(ours.public)
    trust = TopologyTrust(cluster_id=CLUSTER_ID, public_keys=f"file:{file}")
    assert judge(trust, sign(build_topology(epoch=1), new)) is RefusalReason.WRONG_SIGNATURE
    file.write_text(f"{ours.public}\n{new.public}\n")
    assert judge(trust, sign(build_topology(epoch=2), ours)) is None
    assert judge(trust, sign(build_topology(epoch=3), new)) is None
    file.write_text(new.public)
    assert judge(trust, sign(build_topology(epoch=4), ours)) is RefusalReason.WRONG_SIGNATURE
    assert judge(trust, sign(build_topology(epoch=4), new)) is None
