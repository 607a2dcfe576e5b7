"""`POST /v1/events`: authenticate, read, parse, judge, append, answer. Nothing of Django is on this path.

The answer leaves only after the log has said that the events are durable. Positions in it let a client read
its own writes.
"""

import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from clusterproxy.errors import NoTopology
from configservice.topology.model import Topology
from runtime.http.problems import PROBLEM_CONTENT_TYPE, Problem, encode_problem
from viewcounter.apikeys.address_limit import BoundedBuckets, get_client_address
from viewcounter.apikeys.authentication import KeyAuthenticator
from viewcounter.apikeys.key_cache import AuthenticatedKey
from viewcounter.apikeys.keys import is_public_token
from viewcounter.apikeys.origins import READABLE, allow_preflight, check_origin
from viewcounter.apikeys.rate_limit import RateLimiter, Unit
from viewcounter.apikeys.request_budget import Headers, RequestBudget, count_at_least
from viewcounter.apikeys.scopes import Scope
from viewcounter.eventlog.errors import EventLogError, EventLogFull, LogUnfit
from viewcounter.eventlog.interface import AppendResult, Position
from viewcounter.events.viewer import ViewerDigest
from viewcounter.ingest.decoding import Item, parse_items
from viewcounter.ingest.errors import BufferFull, ClientGone, InvalidKey, KeysUnavailable, Refused
from viewcounter.ingest.group_commit import GroupCommit
from viewcounter.ingest.idempotency import Idempotency, check_key
from viewcounter.ingest.items import ItemProblem
from viewcounter.ingest.load_shedding import LagWatch
from viewcounter.ingest.metrics import IngestMeter
from viewcounter.ingest.parameters import IngestParams, parse_params
from viewcounter.ingest.request_head import Content, Head, parse_content, read_head
from viewcounter.ingest.turns import LARGE_BYTES, Turns
from viewcounter.ingest.validation import Acceptance, Acceptor, AcceptWindow
from viewcounter.ingest.wait_applied import AppliedWatch
from viewcounter.web.body import BodyReader, Receive
from viewcounter.web.encodings import unpack
from viewcounter.web.site import Site

logger = logging.getLogger(__name__)

Send = Callable[[dict[str, Any]], Awaitable[None]]

_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", PROBLEM_CONTENT_TYPE.encode())
_REPLAYED = (b"idempotent-replayed", b"true")
_encoder = msgspec.json.Encoder()


class LaneLimits(NamedTuple):
    """`retry_after_seconds` is the least that a 503 asks for; up to as much again is added at random."""

    max_events: int
    explain_max_values: int
    max_body_bytes: int
    window: AcceptWindow
    retry_after_seconds: int


class _Answer(msgspec.Struct, frozen=True):
    """`positions` by partition: where in the log the accepted events are. `spooled`: some have none, they are on this
    gateway's own disk until the log takes them. `applied` is there for those who asked to wait: whether everything
    accepted is counted."""

    request_id: str
    accepted: int
    rejected: int
    items: list[ItemProblem]
    positions: dict[str, str]
    spooled: bool | msgspec.UnsetType = msgspec.UNSET
    applied: bool | msgspec.UnsetType = msgspec.UNSET


_decoder = msgspec.json.Decoder(_Answer)


class GatewayLane:
    """Stateless but for the snapshot it last judged by. `get_topology` is asked at every request and must be cheap."""

    def __init__(
        self,
        *,
        commit: GroupCommit,
        keys: KeyAuthenticator,
        get_topology: Callable[[], Topology],
        limits: LaneLimits,
        viewers: ViewerDigest,
        limiter: RateLimiter,
        applied: AppliedWatch,
        idempotency: Idempotency,
        lag: LagWatch,
        site: Site,
        bodies: BodyReader,
        addresses: BoundedBuckets | None,
    ) -> None:
        self._addresses = addresses
        self._site = site
        self._bodies = bodies
        self._turns = Turns()
        self._lag = lag
        self._applied = applied
        self._idempotency = idempotency
        self._commit = commit
        self._keys = keys
        self._get_topology = get_topology
        self._limits = limits
        self._viewers = viewers
        self._limiter = limiter
        self._acceptor: Acceptor | None = None
        self._random = random.Random()  # noqa: S311 - jitter, no secret
        self._meter = IngestMeter(lambda: commit.buffered_count)

    def close(self) -> None:
        """Hand over what has been counted since the last second."""
        self._meter.publish()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        head = read_head(scope["headers"])
        headers: Headers = (_JSON,)
        budget = RequestBudget(self._limiter, self._addresses)
        if scope["method"] == "OPTIONS" and head.origin is not None:
            await self._answer_preflight(scope, head, budget, send)
            return
        try:
            self._site.check(scope, head)
            _check_method(scope["method"])
            answer, is_repeat = await self._answer(scope, head, receive, budget)
            (status, outcome), body = _judge_answer(answer), _encoder.encode(answer)
            if is_repeat:
                headers, outcome = (_JSON, _REPLAYED), "repeated"
            else:
                self._meter.count_events(accepted=answer.accepted, problems=answer.items)
        except Refused as refusal:
            status, body, headers = self._answer_refusal(refusal, head.request_id)
            outcome = refusal.problem.code
        except ClientGone:
            self._meter.count_request("client_gone")
            return
        except Exception:
            logger.exception("request %s broke off", head.request_id)
            problem = Problem(status=500, code="internal_error", detail="The server failed; nothing is known stored.")
            status, body, headers = self._answer_refusal(Refused(problem), head.request_id)
            outcome = problem.code
        self._meter.count_request(outcome)
        await _respond(send, status, (*headers, *budget.headers), body, request_id=head.request_id)

    async def _answer_preflight(self, scope: dict[str, Any], head: Head, budget: RequestBudget, send: Send) -> None:
        """A browser asks for a page whether it may send events. It cannot show the key's header, so the key stands in
        the address."""
        headers: Headers = ()
        try:
            self._site.check(scope, head)
            await self._authorize(parse_params(scope.get("query_string", b"")), head, budget)
            status, body, outcome = 204, b"", "preflight"
            headers = allow_preflight(budget.origin_headers)
        except Refused as refusal:
            status, body, headers = self._answer_refusal(refusal, head.request_id)
            outcome = refusal.problem.code
        self._meter.count_request(outcome)
        await _respond(send, status, headers, body, request_id=head.request_id)

    async def _answer(
        self, scope: dict[str, Any], head: Head, receive: Receive, budget: RequestBudget
    ) -> tuple[_Answer, bool]:
        """The answer, and whether it is the one that the same request got before."""
        wishes = parse_params(scope.get("query_string", b""))
        key = await self._authorize(wishes, head, budget)
        if key.is_public:
            budget.take_of_address(key, get_client_address(scope))
        budget.take(key, Unit.REQUESTS, 1)
        if self._lag.reason is not None:
            raise Refused(Problem(status=503, code="counting_behind", detail=self._lag.reason), retry=True)
        content = parse_content(head, allows_text=key.is_public)
        budget.take(key, Unit.EVENTS, 0)  # nothing is read, unpacked or decoded for a key that has used up its events
        body = await self._read(key, head, receive, content, budget)
        answer, is_repeat = await self._answer_once(head, key, body, content, budget)
        if wishes.waits and answer.accepted:
            answer = await self._await_applied(answer)
        return answer, is_repeat

    async def _read(
        self, key: AuthenticatedKey, head: Head, receive: Receive, content: Content, budget: RequestBudget
    ) -> bytes:
        body = await self._bodies.read(receive, declared_bytes=head.content_length)
        if content.encoding is not None or len(body) >= LARGE_BYTES:
            await self._turns.wait(key.prefix)
        if content.encoding is None:
            return body
        try:
            return unpack(body, content.encoding, max_bytes=self._limits.max_body_bytes)
        except Refused:
            budget.charge_refused_body(key, self._limits.max_body_bytes)
            raise

    async def _answer_once(
        self, head: Head, key: AuthenticatedKey, body: bytes, content: Content, budget: RequestBudget
    ) -> tuple[_Answer, bool]:
        if head.idempotency_key is None:
            return await self._accept(head, key, body, content, budget), False

        async def answer() -> tuple[bytes, bool]:
            given = await self._accept(head, key, body, content, budget)
            # Asked again, an answer without events, or with events to be sent again, may be another.
            is_replayable = given.accepted > 0 and not any(item.retryable for item in given.items)
            return _encoder.encode(given), is_replayable

        encoded, is_repeat = await self._idempotency.answer_once(
            owner=key.prefix,
            key=check_key(head.idempotency_key),
            request=(b"lines\n" if content.is_ndjson else b"json\n") + body,
            answer=answer,
        )
        return _decoder.decode(encoded), is_repeat

    async def _accept(
        self, head: Head, key: AuthenticatedKey, body: bytes, content: Content, budget: RequestBudget
    ) -> _Answer:
        items = self._parse(key, body, content, budget)
        # Refused events have cost as much as accepted ones, and so have the values that were decoded to explain them.
        budget.take(key, Unit.EVENTS, max(len(items), count_at_least(len(body))))
        acceptor = self._get_acceptor()
        acceptance = acceptor.accept(items, now_us=time.time_ns() // 1000)
        if not acceptance.count:
            return _build_answer(head, 0, acceptance.problems, {})
        result = await self._append(acceptance)
        return _answer_appended(head, items, acceptance, acceptor, result)

    def _parse(self, key: AuthenticatedKey, body: bytes, content: Content, budget: RequestBudget) -> Sequence[Item]:
        limits = self._limits
        try:
            return parse_items(
                body,
                is_ndjson=content.is_ndjson,
                max_events=limits.max_events,
                explain_max_values=limits.explain_max_values,
            )
        except Refused:
            budget.charge_refused_body(key, len(body))
            raise

    async def _await_applied(self, answer: _Answer) -> _Answer:
        """What is spooled waits for a log that is away: it is not waited for."""
        positions = {int(p): Position.parse(position) for p, position in answer.positions.items()}
        is_applied = answer.spooled is msgspec.UNSET and await self._applied.wait(positions)
        return msgspec.structs.replace(answer, applied=is_applied)

    async def _authorize(self, wishes: IngestParams, head: Head, budget: RequestBudget) -> AuthenticatedKey:
        """Notes in `budget` what the answer tells the browser of a page."""
        authorization = head.authorization if wishes.key is None else _read_key_of_address(wishes.key)
        try:
            key = await self._keys.authenticate(authorization)
        except InvalidKey as error:
            readable = () if wishes.key is None else (READABLE,)
            raise _unauthenticated(is_missing=authorization is None, headers=readable) from error
        except KeysUnavailable as error:
            problem = Problem(status=503, code="keys_unavailable", detail="The API key cannot be checked right now.")
            raise Refused(problem, retry=True) from error
        if Scope.EVENTS_WRITE not in key.scopes:
            detail = f"The API key lacks the scope {Scope.EVENTS_WRITE}."
            raise Refused(Problem(status=403, code="missing_scope", detail=detail))
        budget.origin_headers = check_origin(key, head.origin)
        return key

    def _get_acceptor(self) -> Acceptor:
        try:
            topology = self._get_topology()
        except NoTopology as error:
            problem = Problem(status=503, code="no_topology", detail="The server does not know its cluster yet.")
            raise Refused(problem, retry=True) from error
        if self._acceptor is None or self._acceptor.topology is not topology:
            self._acceptor = Acceptor(topology, self._limits.window, viewers=self._viewers)
        return self._acceptor

    async def _append(self, acceptance: Acceptance) -> AppendResult:
        try:
            return await self._commit.submit(acceptance.by_partition, count=acceptance.count)
        except BufferFull as error:
            problem = Problem(status=503, code="overloaded", detail="Too many events wait for the event log.")
            raise Refused(problem, retry=True) from error

    def _answer_refusal(self, refusal: Refused, request_id: str) -> tuple[int, bytes, Headers]:
        headers = (_PROBLEM, *refusal.headers)
        if refusal.retry:
            least = self._limits.retry_after_seconds
            # Spread out, so that the clients of an outage do not all come back in the same second.
            headers += ((b"retry-after", b"%d" % self._random.randint(least, 2 * least)),)
        return refusal.problem.status, encode_problem(refusal.problem, request_id=request_id), headers


async def send_refusal(refusal: Refused, send: Send, *, request_id: str) -> None:
    """Of a request that did not come as far as the lane."""
    body = encode_problem(refusal.problem, request_id=request_id)
    headers = [
        _PROBLEM,
        *refusal.headers,
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": refusal.problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _answer_appended(
    head: Head, items: Sequence[Item], acceptance: Acceptance, acceptor: Acceptor, result: AppendResult
) -> _Answer:
    """Raises Refused (503) if the log stored nothing of the request."""
    failed = {partition for partition in acceptance.by_partition if partition in result.failed}
    problems, accepted = acceptance.problems, acceptance.count
    if failed:
        if len(failed) == len(acceptance.by_partition):
            raise _not_stored([result.failed[p] for p in failed])
        unstored = acceptor.find_unstored(items, acceptance, failed)
        problems = sorted(problems + unstored, key=lambda problem: problem.index)
        accepted -= len(unstored)
    positions = {str(p): str(result.positions[p]) for p in acceptance.by_partition if p in result.positions}
    answer = _build_answer(head, accepted, problems, positions)
    has_spooled = len(positions) + len(failed) < len(acceptance.by_partition)
    return msgspec.structs.replace(answer, spooled=True) if has_spooled else answer


def _build_answer(head: Head, accepted: int, problems: list[ItemProblem], positions: dict[str, str]) -> _Answer:
    return _Answer(head.request_id, accepted, len(problems), problems, positions)


def _judge_answer(answer: _Answer) -> tuple[int, str]:
    """Status and name: all stored, some stored, none valid."""
    if not answer.items:
        return 202, "accepted"
    return (207, "partial") if answer.accepted else (422, "none_valid")


async def _respond(send: Send, status: int, headers: Headers, body: bytes, *, request_id: str) -> None:
    lines = [*headers, (b"content-length", b"%d" % len(body)), (b"x-request-id", request_id.encode())]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


def _read_key_of_address(token: str) -> bytes:
    """As the header would have it. Raises Refused (401) for a secret one: addresses are written down everywhere."""
    if not is_public_token(token):
        detail = (
            "Only a public key (vcp_…) may stand in the address. A secret one that stood there is not secret any more."
        )
        raise Refused(Problem(status=401, code="secret_key_in_address", detail=detail))
    return b"Bearer " + token.encode("latin-1", "replace")


def _check_method(method: str) -> None:
    if method != "POST":
        problem = Problem(status=405, code="method_not_allowed", detail="Events are sent with POST and read with GET.")
        raise Refused(problem, headers=((b"allow", b"GET, HEAD, POST"),))


def _unauthenticated(*, is_missing: bool, headers: Headers) -> Refused:
    if is_missing:
        problem = Problem(status=401, code="missing_key", detail="Send an API key: Authorization: Bearer vc_….")
        return Refused(problem, headers=((b"www-authenticate", b"Bearer"), *headers))
    problem = Problem(status=401, code="invalid_key", detail="The API key is not valid.")
    return Refused(problem, headers=((b"www-authenticate", b'Bearer error="invalid_token"'), *headers))


def _not_stored(errors: Sequence[EventLogError]) -> Refused:
    unfit = next((error for error in errors if isinstance(error, LogUnfit)), None)
    if unfit is not None:
        detail = f"The event log cannot be used: {unfit}. Nothing was stored; send the events again later."
        problem = Problem(status=503, code=unfit.code, detail=detail)
    elif any(isinstance(error, EventLogFull) for error in errors):
        problem = Problem(status=503, code="log_full", detail="The event log has no room; send the events again later.")
    else:
        detail = "The event log did not confirm the events; send them again under the same ids."
        problem = Problem(status=503, code="log_unavailable", detail=detail)
    return Refused(problem, retry=True)
