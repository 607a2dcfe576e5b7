"""Packed bodies: what was packed comes back, what unpacks to too much or is damaged is refused."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from runtime.http.errors import Refused
from viewcounter.web.request import Encoding, unpack

PACK: dict[Encoding, Callable[[bytes], bytes]] = {Encoding.GZIP: gzip.compress, Encoding.ZSTD: zstd.compress}
MAX_BYTES = 1000
MEBIBYTE = 1024 * 1024
encodings = st.sampled_from(list(Encoding))


def refusal_of(data: bytes, encoding: Encoding) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        unpack(data, encoding, max_bytes=MAX_BYTES)
    return caught.value.problem.status, caught.value.problem.code


@given(data=st.binary(max_size=MAX_BYTES), encoding=encodings)
def test_what_was_packed_comes_back(data: bytes, encoding: Encoding) -> None:
    assert unpack(PACK[encoding](data), encoding, max_bytes=MAX_BYTES) == data


@pytest.mark.parametrize("encoding", Encoding)
def test_exactly_the_limit_fits_and_one_byte_more_does_not(encoding: Encoding) -> None:
    assert len(unpack(PACK[encoding](b"x" * MAX_BYTES), encoding, max_bytes=MAX_BYTES)) == MAX_BYTES
    assert refusal_of(PACK[encoding](b"x" * (MAX_BYTES + 1)), encoding) == (413, "body_too_large")


@pytest.mark.parametrize("encoding", Encoding)
def test_a_bomb_is_refused_without_being_unpacked(encoding: Encoding) -> None:
    bomb = PACK[encoding](bytes(100 * MEBIBYTE))
    assert len(bomb) < MEBIBYTE
    tracemalloc.start()
    try:
        assert refusal_of(bomb, encoding) == (413, "body_too_large")
        assert tracemalloc.get_traced_memory()[1] < MEBIBYTE
    finally:
        tracemalloc.stop()


def test_a_frame_that_names_a_window_of_gigabytes_is_refused() -> None:
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.enable_long_distance_matching: 1}
    packer = zstd.ZstdCompressor(options=options)
    frame = packer.compress(b"x" * 100, mode=packer.FLUSH_BLOCK) + packer.flush()
    assert refusal_of(frame, Encoding.ZSTD) == (400, "malformed_zstd")


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"{}",
        lambda packed: packed[:-1],
        lambda packed: packed[:6],
        lambda packed: packed + b"trailing",
        lambda _: zlib.compress(b"x"),
    ],
    ids=["empty", "plain", "cut", "header", "garbage", "zlib"],
)
def test_damaged_bodies_are_malformed(encoding: Encoding, damage: Callable[[bytes], bytes]) -> None:
    assert refusal_of(damage(PACK[encoding](b"x" * 100)), encoding) == (400, f"malformed_{encoding}")


@pytest.mark.parametrize("encoding", Encoding)
def test_streams_that_follow_one_another_are_one_body(encoding: Encoding) -> None:
    data = PACK[encoding](b"one\n") + PACK[encoding](b"") + PACK[encoding](b"two\n")
    assert unpack(data, encoding, max_bytes=8) == b"one\ntwo\n"


@pytest.mark.parametrize("encoding", Encoding)
def test_the_limit_of_bytes_holds_for_all_streams_together(encoding: Encoding) -> None:
    half = PACK[encoding](b"x" * (MAX_BYTES // 2))
    assert len(unpack(half + half, encoding, max_bytes=MAX_BYTES)) == MAX_BYTES
    assert refusal_of(half + half + PACK[encoding](b"x"), encoding) == (413, "body_too_large")


@pytest.mark.parametrize("encoding", Encoding)
def test_the_number_of_streams_is_bounded(encoding: Encoding) -> None:
    assert unpack(PACK[encoding](b"x") * 100, encoding, max_bytes=MAX_BYTES) == b"x" * 100
    assert refusal_of(PACK[encoding](b"") * 101, encoding) == (413, "too_many_streams")


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("cut", [lambda packed: packed[:-1], lambda packed: packed[:6]], ids=["cut", "header"])
def test_damaged_second_stream_is_malformed(encoding: Encoding, cut: Callable[[bytes], bytes]) -> None:
    packed = PACK[encoding](b"x" * 100)
    assert refusal_of(packed + cut(packed), encoding) == (400, f"malformed_{encoding}")


def test_gzip_with_a_wrong_checksum_is_malformed() -> None:
    assert refusal_of(gzip.compress(b"x" * 100)[:-8] + b"\0" * 8, Encoding.GZIP) == (400, "malformed_gzip")


@given(data=st.binary(max_size=300), encoding=encodings, starts_well=st.booleans())
def test_arbitrary_bytes_are_unpacked_or_refused(data: bytes, encoding: Encoding, starts_well: bool) -> None:
    try:
        unpack(PACK[encoding](b"")[:4] + data if starts_well else data, encoding, max_bytes=MAX_BYTES)
    except Refused as refusal:
        assert refusal.problem.status in (400, 413)
