"""Signatures hold for exactly what was published, by a key that is known."""

import stat

import pytest

from configservice.errors import BadSigningKey
from configservice.topology.keys import check_public_keys, split_public_keys
from configservice.topology.published_snapshot import PublishedSnapshot
from configservice.topology.signing import PublicKeys, make_signing_key_file, read_signing_key

SNAPSHOT = '{"epoch": 5}'


@pytest.fixture
def keys(tmp_path):
    return [make_signing_key_file(tmp_path / name) for name in ("one", "other")]


def sign(snapshot, *keys):
    return PublishedSnapshot(snapshot, {key.id: key.sign(snapshot) for key in keys})


def test_a_signature_by_any_known_key_counts(keys):
    one, other = keys
    both = PublicKeys.parse(f"{one.public}, {other.public}")
    assert [both.verify(sign(SNAPSHOT, key)) for key in keys] == [True, True]
    assert PublicKeys.parse(one.public).verify(sign(SNAPSHOT, one, other))
    assert not PublicKeys.parse(one.public).verify(sign(SNAPSHOT, other))
    assert not PublicKeys.parse("").verify(sign(SNAPSHOT, one))


@pytest.mark.parametrize("signature", ["", "AAAA", "no base64", "A" * 86 + "=="])
def test_a_signature_that_is_none_does_not_count(keys, signature):
    one, _ = keys
    assert not PublicKeys.parse(one.public).verify(PublishedSnapshot(SNAPSHOT, {one.id: signature}))


def test_a_signature_is_of_the_exact_text_and_of_nothing_else(keys):
    one, other = keys
    known = PublicKeys.parse(f"{one.public},{other.public}")
    signed = sign(SNAPSHOT, one)
    assert not known.verify(PublishedSnapshot(SNAPSHOT + " ", signed.signatures))
    assert not known.verify(PublishedSnapshot(SNAPSHOT, {other.id: signed.signatures[one.id]}))
    raw = one.private.sign(SNAPSHOT.encode())  # the same key, used for something else
    assert known.by_id[one.id].verify(raw, SNAPSHOT.encode()) is None
    assert not known.verify(PublishedSnapshot(SNAPSHOT, {one.id: raw.hex()}))


def test_the_file_of_a_key_is_private_and_never_written_over(tmp_path):
    key = make_signing_key_file(tmp_path / "key")
    assert read_signing_key(tmp_path / "key") == key
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        make_signing_key_file(tmp_path / "key")


@pytest.mark.parametrize("content", ["", "hunter2", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_file_that_holds_no_key_is_said_without_its_content(tmp_path, content):
    (tmp_path / "key").write_text(content)
    with pytest.raises(BadSigningKey, match="holds no unencrypted private key") as caught:
        read_signing_key(tmp_path / "key")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(BadSigningKey, match="No such file"):
        read_signing_key(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["hunter2", "AAAA", "A" * 44, "ö"])
def test_a_public_key_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="is not a public key as"):
        split_public_keys(text)


def test_a_private_key_is_read_anew_when_its_file_has_changed(tmp_path):
    path = tmp_path / "key"
    one, other = make_signing_key_file(path), make_signing_key_file(tmp_path / "other")
    (tmp_path / "other").rename(path)
    assert one.id != other.id == read_signing_key(path).id


@pytest.mark.parametrize("content", ["", "no key", "AAAA\n", None])
def test_a_file_without_keys_leaves_those_read_before(tmp_path, keys, content, caplog):
    """Without any key a process would verify nothing."""
    file = tmp_path / "public_keys"
    file.write_text(keys[0].public)
    text = f"file:{file}"
    known = split_public_keys(text)
    file.unlink() if content is None else file.write_text(content)
    assert (split_public_keys(text), split_public_keys(text)) == (known, known)
    assert caplog.text.count("stay those read before") == 1


@pytest.mark.parametrize(("content", "problem"), [("", "no key"), ("AAAA", "not a public key"), (None, "No such")])
def test_a_process_does_not_start_with_a_file_without_keys(tmp_path, content, problem):
    file = tmp_path / "public_keys"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=f"public_keys: .*{problem}"):
        check_public_keys(f"file:{file}")
