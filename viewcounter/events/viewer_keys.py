"""The keys of viewers, and which of them an event takes: by its own time, so that every gateway takes the same.

A key that is added holds from the beginning of a day in UTC on. Hours and days, which sketches are kept by, are thus
each of one key, and an event that is late, or is sent again, has the number that it would have had in time.
"""

import logging
import time
from bisect import bisect_right
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from viewcounter.events.viewer import ViewerDigest, derive_viewer_key

logger = logging.getLogger(__name__)

SECRET_MIN_CHARACTERS = 32
REREAD_SECONDS = 10.0
"""Age of the keys from which the next event with a viewer has them read anew."""
_EPOCH = date(1970, 1, 1)
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class ViewerKey:
    """`starts_on`: the first day, UTC, of the events that take it; the first key has none."""

    secret: str
    starts_on: date | None = None


def parse_viewer_keys(text: str) -> tuple[ViewerKey, ...]:
    """From lines, the first a secret, each further one the day from which it holds and a secret: `2027-01-01 SECRET`.

    Raises ValueError, which names the line and holds no secret.
    """
    first, *others = text.splitlines() or [""]
    keys = [ViewerKey(first)]
    for number, line in enumerate(others, start=2):
        if not line.strip():
            continue
        day, _, secret = line.strip().partition(" ")
        try:
            starts_on = date.fromisoformat(day)
        except ValueError:
            raise ValueError(f"line {number} does not begin with a day such as 2027-01-01 and a space") from None
        if starts_on <= (keys[-1].starts_on or date.min):
            raise ValueError(f"line {number} begins with {day}, which is not after the day of the line before")
        keys.append(ViewerKey(secret.strip(), starts_on))
    for number, key in enumerate(keys, start=1):
        if len(key.secret) < SECRET_MIN_CHARACTERS:
            raise ValueError(f"the secret of key {number} has fewer than {SECRET_MIN_CHARACTERS} characters")
    return tuple(keys)


def check_viewer_keys(text: str) -> str:
    """Returns the text; a validator for settings. Raises ValueError as `parse_viewer_keys`."""
    parse_viewer_keys(text)
    return text


class ViewerNumbers:
    """Numbers of viewers under the keys that `read` returns as a text. For one thread.

    `read` is called anew now and then, so that a key is added without a restart. `on_change` then gets the fingerprints
    of all keys, and of those that are gone. Raises ValueError at first; keys that are invalid later on are reported,
    and those read before stay.
    """

    def __init__(
        self,
        read: Callable[[], str],
        *,
        clock: Callable[[], float] = time.monotonic,
        get_today: Callable[[], date] = lambda: datetime.now(UTC).date(),
        on_change: Callable[[Collection[str], Collection[str]], None] = lambda *_: None,
    ) -> None:
        self._read = read
        self._clock = clock
        self._get_today = get_today
        self._on_change = on_change
        self._problem = ""
        self._text = read()
        self._use(parse_viewer_keys(self._text))
        self._read_at = clock()

    def get_number(self, viewer_id: str, occurred_us: int) -> int:
        """As that of `ViewerDigest`, under the key of the event's day. `occurred_us`: microseconds since 1970, UTC."""
        if self._clock() - self._read_at >= REREAD_SECONDS:
            self.reread()
        digests = self._digests
        if len(digests) == 1:
            return digests[0].get_number(viewer_id)
        return digests[bisect_right(self._starts_us, occurred_us)].get_number(viewer_id)

    @property
    def key_fingerprints(self) -> tuple[str, ...]:
        """Of each key, in the order of their days."""
        return tuple(digest.key_fingerprint for digest in self._digests)

    def reread(self) -> None:
        """At once; a gateway that gets no event with a viewer calls it, so that its keys are known."""
        self._read_at = self._clock()
        text = self._read()
        if text == self._text:
            return
        self._text = text
        try:
            keys = parse_viewer_keys(text)
        except ValueError as error:
            logger.error("the keys of viewers stay those read before: %s", error)
            return
        before = set(self.key_fingerprints)
        self._use(keys)
        self._warn_of_late_keys(keys, before)
        self._on_change(self.key_fingerprints, before - set(self.key_fingerprints))

    def _use(self, keys: tuple[ViewerKey, ...]) -> None:
        self._starts_us = [(key.starts_on - _EPOCH).days * _DAY_US for key in keys if key.starts_on is not None]
        self._digests = [ViewerDigest(derive_viewer_key(key.secret)) for key in keys]

    def _warn_of_late_keys(self, keys: tuple[ViewerKey, ...], known: set[str]) -> None:
        """A key of tomorrow is in time: only senders whose clocks are ahead may have sent its first minutes already."""
        today = self._get_today()
        for key, fingerprint in zip(keys, self.key_fingerprints, strict=True):
            if fingerprint in known:
                continue
            if key.starts_on is None:
                logger.error("the first key of viewers has changed: every viewer counts as a new one")
            elif key.starts_on <= today:
                logger.error(
                    "the key of viewers of %s came when that day had begun: its viewers may count twice. Give a key a"
                    " day from %s on",
                    key.starts_on,
                    today + timedelta(days=1),
                )
            else:
                logger.info("viewers of events from %s on are told apart by key %s", key.starts_on, fingerprint)
