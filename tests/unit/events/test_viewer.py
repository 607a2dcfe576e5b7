"""Viewers become numbers: the same everywhere under one key, others under another, never the one that means nobody."""

from hashlib import blake2b

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewcounter.events.message import VIEWER_ID_MAX_CHARACTERS, ViewerId
from viewcounter.events.viewer import NO_VIEWER, ViewerDigest, derive_viewer_key

SECRET = "x" * 40


def find_number(viewer_id: str, *, secret: str = SECRET) -> int:
    return ViewerDigest(derive_viewer_key(secret)).get_number(viewer_id)


@pytest.mark.parametrize(
    ("viewer_id", "number"),
    [("ada@example.com", -4492217489203864636), ("ada", -1606100177299725881)],
)
def test_the_number_of_a_viewer_is_the_same_on_every_gateway_and_in_every_release(viewer_id: str, number: int) -> None:
    """Another number would make everybody a new viewer."""
    assert find_number(viewer_id) == number


def test_another_secret_gives_other_numbers() -> None:
    assert find_number("ada", secret="y" * 40) != find_number("ada")


def test_the_key_of_viewers_is_not_the_secret_that_it_is_derived_from() -> None:
    assert SECRET.encode() not in derive_viewer_key(SECRET)
    assert len(derive_viewer_key(SECRET)) == 32


def test_keys_have_fingerprints_that_differ_and_belong_to_no_viewer() -> None:
    first, second = (ViewerDigest(derive_viewer_key(secret)).key_fingerprint for secret in (SECRET, "y" * 40))
    assert (first, second) == ("af42c76f", "e8e1f33e")


def test_one_digest_asked_twice_is_not_changed_by_what_it_was_asked_before() -> None:
    viewers = ViewerDigest(derive_viewer_key(SECRET))
    assert [viewers.get_number(name) for name in ("ada", "bob", "ada")] == [
        find_number(name) for name in ("ada", "bob", "ada")
    ]


@given(viewer_id=st.text(st.characters(exclude_categories=["Cs"]), max_size=128))
def test_every_number_fits_a_bigint_and_none_means_nobody(viewer_id: str) -> None:
    number = find_number(viewer_id)
    assert -(2**63) <= number < 2**63
    assert number != NO_VIEWER


def test_a_digest_of_nothing_but_zeros_is_another_number(monkeypatch: pytest.MonkeyPatch) -> None:
    class Zeros:
        def __init__(self, **_: object) -> None: ...

        def copy(self) -> "Zeros":
            return self

        def update(self, _data: bytes) -> None: ...

        def digest(self) -> bytes:
            return bytes(8)

    monkeypatch.setattr("viewcounter.events.viewer.blake2b", Zeros)
    assert find_number("ada") == 1


def test_numbers_of_many_viewers_are_distinct_and_use_every_bit_alike() -> None:
    """What estimates of distinct viewers rest on."""
    viewers = ViewerDigest(derive_viewer_key(SECRET))
    numbers = {viewers.get_number(f"user-{n}") % 2**64 for n in range(4096)}
    assert len(numbers) == 4096
    shares = [sum(number >> bit & 1 for number in numbers) / 4096 for bit in range(64)]
    assert all(0.45 < share < 0.55 for share in shares)


def test_the_number_does_not_tell_a_name_without_the_key() -> None:
    """Someone who reads a shard cannot guess names by hashing them."""
    plain = blake2b(b"ada", digest_size=8).digest()
    assert find_number("ada") != int.from_bytes(plain, "little", signed=True)


@pytest.mark.parametrize(
    "viewer_id", ["a", "ada@example.com", "c2VjcmV0/+==", "用户-7", "v" * VIEWER_ID_MAX_CHARACTERS]
)
def test_printable_text_without_white_space_names_a_viewer(viewer_id: str) -> None:
    assert msgspec.convert(viewer_id, ViewerId) == viewer_id


@pytest.mark.parametrize(
    "viewer_id",
    ["", " ", "a b", "a\n", "a\0", "\x7f", "\xa0", "\u2028", "\ufeff", "v" * (VIEWER_ID_MAX_CHARACTERS + 1)],
)
def test_other_text_names_none(viewer_id: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(viewer_id, ViewerId)
