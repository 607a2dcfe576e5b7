"""Errors of the catalogue; each docstring is the operator's message."""

from collections.abc import Collection

from runtime.errors import Permanent


class UnknownChannels(Permanent, Exception):
    """Videos name channels that are not in the catalogue. Nothing was changed; add the channels first."""

    def __init__(self, channel_ids: Collection[str]) -> None:
        super().__init__(f"unknown channels: {', '.join(sorted(channel_ids))}")
        self.channel_ids = frozenset(channel_ids)


class NotInCatalogue(Permanent, LookupError):
    """The catalogue has no video or channel with this id. Events of unknown videos are counted nevertheless."""
