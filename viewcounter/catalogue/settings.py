"""Settings of the catalogue."""

from dataclasses import dataclass

from runtime.settings import setting


@dataclass(frozen=True, slots=True)
class CatalogueSettings:
    """Catalogue of videos and channels."""

    interval_seconds: float = setting(
        10.0, "Interval at which changed titles are copied to the shards and to the workers' local copies."
    )
    lock_seconds: float = setting(
        2.0, "Maximum wait of one writer of the catalogue for another one; then the write fails."
    )
    import_max_items: int = setting(1000, "Maximum number of entries in one import of the catalogue; beyond it 422.")
    sync_shard_seconds: float = setting(
        5.0, "Maximum time of one shard to store one batch of catalogue changes; then it is tried again later."
    )
