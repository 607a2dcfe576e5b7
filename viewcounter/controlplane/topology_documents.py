"""Finds the newest topology that anything still has: control database, cache, disk copy, or a file that is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from django.conf import settings

from clusterproxy.disk_copy import FILE_NAME, find_disk_copy
from configservice.errors import RestoreRefused, TopologyCacheEmpty, TopologyCacheUnavailable
from configservice.topology.cluster_cache import ClusterCache
from configservice.topology.keys import split_public_keys
from configservice.topology.model import Topology
from configservice.topology.publication import (
    find_cluster_of_signers,
    read_from_cache,
    read_from_control_database,
)
from configservice.topology.published_snapshot import PublishedSnapshot, decode_published_snapshot
from configservice.topology.signing import PublicKeys

CONTROL_DATABASE = "the control database"
CACHE = "the cache"


@dataclass(frozen=True, slots=True)
class Document:
    place: str
    published: PublishedSnapshot
    topology: Topology


def find_documents(file: Path | None, *, state_dir: Path) -> list[Document]:
    """All that can be read. With public keys, those from elsewhere than the control database must be signed.

    Raises RestoreRefused if `file` is not; ControlDatabaseUnavailable.
    """
    documents = []
    published = read_from_control_database()
    if published is not None:
        documents.append(Document(CONTROL_DATABASE, published, published.decode()))
    if file is not None:
        documents.append(_read_file(file))
    copy = find_disk_copy(state_dir)
    if copy is not None and (document := _find_trusted(str(state_dir / FILE_NAME), copy)) is not None:
        documents.append(document)
    cached = _find_cached([document.topology.cluster_id for document in documents])
    if cached is not None and (document := _find_trusted(CACHE, cached)) is not None:
        documents.append(document)
    return documents


def choose_document(documents: Sequence[Document]) -> Document:
    """Pure. The newest. Raises RestoreRefused without any, and if they are of different clusters."""
    if not documents:
        raise RestoreRefused(
            "no topology was found in the control database, the cache or the state folder: give the topology.json of"
            " another host, --topology FILE"
        )
    clusters = {document.topology.cluster_id for document in documents}
    if len(clusters) > 1:
        places = ", ".join(f"{document.place}: {document.topology.cluster_id}" for document in documents)
        raise RestoreRefused(f"the topologies are of different clusters ({places})")
    return max(documents, key=lambda document: document.topology.version)


def _read_file(path: Path) -> Document:
    try:
        published = decode_published_snapshot(path.read_bytes())
        topology = published.decode()
    except OSError as error:
        raise RestoreRefused(f"{path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise RestoreRefused(f"{path} holds no topology: {error}") from error
    if not _is_trusted(published):
        raise RestoreRefused(
            f"{path} is not signed with a key of VIEWCOUNTER_CLUSTER_TOPOLOGY_PUBLIC_KEYS: anyone may have written it"
        )
    return Document(str(path), published, topology)


def _find_trusted(place: str, published: PublishedSnapshot) -> Document | None:
    try:
        topology = published.decode()
    except msgspec.DecodeError:
        return None
    return Document(place, published, topology) if _is_trusted(published) else None


def _find_cached(cluster_ids: Sequence[str]) -> PublishedSnapshot | None:
    """Only with public keys: others than our own processes may write to the cache."""
    key_ids = split_public_keys(settings.TOPOLOGY_PUBLIC_KEYS)
    if not key_ids:
        return None
    url = settings.TOPOLOGY_CACHE_URL
    try:
        cluster_id = settings.CLUSTER_ID or next(iter(cluster_ids), None) or find_cluster_of_signers(url, key_ids)
        return None if cluster_id is None else read_from_cache(ClusterCache(url, cluster_id))
    except (TopologyCacheUnavailable, TopologyCacheEmpty):
        return None


def _is_trusted(published: PublishedSnapshot) -> bool:
    keys = PublicKeys.parse(settings.TOPOLOGY_PUBLIC_KEYS)
    return not keys or keys.verify(published)
