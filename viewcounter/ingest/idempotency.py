"""`Idempotency-Key`: the same key with the same body within a window gets the same answer; nothing is appended again.

After draft-ietf-httpapi-idempotency-key-header: 409 while the first request is under way, 422 for another body.
"""

from collections.abc import Awaitable, Callable
from enum import Enum, auto
from hashlib import blake2b

from runtime.http.problems import FieldProblem, Problem
from viewcounter.ingest.errors import Refused
from viewcounter.ingest.idempotency_store import KeptAnswers, StoredResponse

HEADER = "Idempotency-Key"
_FIRST, _LAST = 0x21, 0x7E  # visible ASCII
_MAX_CHARACTERS = 255
_DIGEST_BYTES = 16


class IdempotencyVerdict(Enum):
    FIRST = auto()
    REPEATED = auto()
    UNDER_WAY = auto()
    REUSED = auto()


def judge_kept(kept: StoredResponse | None, *, digest: bytes) -> IdempotencyVerdict:
    """What a request is, by what its key holds. Pure."""
    if kept is None:
        return IdempotencyVerdict.FIRST
    if kept.digest != digest:
        return IdempotencyVerdict.REUSED
    return IdempotencyVerdict.REPEATED if kept.answer else IdempotencyVerdict.UNDER_WAY


def check_key(key: bytes) -> bytes:
    """Raises Refused (422) for what is no key."""
    if 0 < len(key) <= _MAX_CHARACTERS and all(_FIRST <= byte <= _LAST for byte in key):
        return key
    message = f"must be 1 to {_MAX_CHARACTERS} visible ASCII characters"
    raise _refuse(422, "invalid_request", "The request has values that cannot be used.", "invalid_key", message)


class Idempotency:
    """`max_answer_bytes`: a longer answer is not kept; the repeated request is then taken like a new one."""

    def __init__(self, answers: KeptAnswers, *, max_answer_bytes: int) -> None:
        self._answers = answers
        self._max_answer_bytes = max_answer_bytes

    async def answer_once(
        self, *, owner: str, key: bytes, request: bytes, answer: Callable[[], Awaitable[tuple[bytes, bool]]]
    ) -> tuple[bytes, bool]:
        """The answer, and whether it was given before. Raises Refused (409, 422) and what `answer` raises.

        `owner`: keys of different owners never meet. `answer` also says whether asking again would change nothing:
        only then is its answer kept.
        """
        name = f"{owner}:{blake2b(key, digest_size=_DIGEST_BYTES).hexdigest()}"
        digest = blake2b(request, digest_size=_DIGEST_BYTES).digest()
        kept = await self._answers.claim(name, StoredResponse(digest))
        verdict = judge_kept(kept, digest=digest)
        if kept is not None and verdict is IdempotencyVerdict.REPEATED:
            return kept.answer, True
        _check_verdict(verdict)
        try:
            given, is_replayable = await answer()
        except Exception:
            await self._answers.release(name)
            raise
        if is_replayable and len(given) <= self._max_answer_bytes:
            await self._answers.keep(name, StoredResponse(digest, given))
        else:
            await self._answers.release(name)
        return given, False

    async def close(self) -> None:
        await self._answers.close()


def _check_verdict(verdict: IdempotencyVerdict) -> None:
    if verdict is IdempotencyVerdict.UNDER_WAY:
        detail = "A request with this Idempotency-Key is under way; ask again for its answer."
        raise _refuse(409, "idempotency_key_in_use", detail, "in_use", "is that of a request under way", retry=True)
    if verdict is IdempotencyVerdict.REUSED:
        detail = "This Idempotency-Key was sent with another body; nothing of this request is stored."
        raise _refuse(422, "idempotency_key_reused", detail, "reused", "belongs to another body")


def _refuse(status: int, code: str, detail: str, field_code: str, message: str, *, retry: bool = False) -> Refused:
    return Refused(Problem(status, code, detail, (FieldProblem(HEADER, field_code, message),)), retry=retry)
