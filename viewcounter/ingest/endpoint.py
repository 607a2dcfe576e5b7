"""`POST /v1/events`: authenticate, read, decode, validate, append, respond. Django is not on this path.

The response is sent only after the log has confirmed that the events are durable. Its positions let a client read its
own writes.
"""

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from clusterproxy.errors import NoTopology, PositionLost
from configservice.topology.model import Topology
from runtime.http.asgi import PROBLEM_LINE, Headers, Receive, Send, respond
from runtime.http.errors import ClientGone, Refused, Rejected, TryLater
from runtime.http.problems import Problem, encode_problem
from runtime.logs import add_log_fields
from viewcounter.apikeys.authentication import KeyAuthenticator, read_key_of_address
from viewcounter.apikeys.errors import KEYS_UNAVAILABLE_DETAIL, InvalidKey, KeysUnavailable
from viewcounter.apikeys.origins import READABLE, build_preflight_lines, check_origin
from viewcounter.apikeys.rate_limit import (
    BoundedBuckets,
    RateLimiter,
    RequestBudget,
    Unit,
    count_at_least,
    get_client_address,
)
from viewcounter.apikeys.scopes import AuthenticatedKey, Scope
from viewcounter.eventlog.errors import EventLogError, EventLogFull, LogUnfit
from viewcounter.eventlog.interface import AppendResult, Position
from viewcounter.eventlog.lost_positions import describe_lost_position
from viewcounter.events.viewer_keys import ViewerNumbers
from viewcounter.ingest.decoding import Item, parse_items
from viewcounter.ingest.errors import BufferFull
from viewcounter.ingest.faults import ItemProblem
from viewcounter.ingest.group_commit import GroupCommit
from viewcounter.ingest.idempotency import Idempotency
from viewcounter.ingest.load_shedding import LagWatch
from viewcounter.ingest.metrics import IngestMeter
from viewcounter.ingest.settings import AcceptWindow
from viewcounter.ingest.turns import LARGE_BYTES, Turns
from viewcounter.ingest.unknown_fields import UnknownFields
from viewcounter.ingest.validation import Acceptance, Acceptor
from viewcounter.ingest.wait_applied import AppliedWatch
from viewcounter.web.request import (
    BodyReader,
    Content,
    Head,
    IngestParams,
    parse_content,
    parse_params,
    read_head,
    unpack,
)
from viewcounter.web.settings import RequestLimits
from viewcounter.web.site import Site

logger = logging.getLogger(__name__)

_JSON = (b"content-type", b"application/json")
_REPLAYED = (b"idempotent-replayed", b"true")


class _Answer(msgspec.Struct, frozen=True):
    """JSON body of a response.

    positions: by partition, the log position of the accepted events.
    ignored: fields of the request that no event has; nothing of them is stored.
    spooled: some events have no position, they are on this gateway's disk until the log takes them.
    applied: whether all accepted events are counted; only in the response to a request that waits.
    """

    request_id: str
    accepted: int
    rejected: int
    items: list[ItemProblem]
    positions: dict[str, str]
    ignored: list[str] | msgspec.UnsetType = msgspec.UNSET
    spooled: bool | msgspec.UnsetType = msgspec.UNSET
    applied: bool | msgspec.UnsetType = msgspec.UNSET


class _Response(NamedTuple):
    """`outcome` is the label of the request in the metrics."""

    status: int
    outcome: str
    body: bytes
    headers: Headers = (_JSON,)


class _Request(NamedTuple):
    """One that was let in and read. `body` is decompressed."""

    head: Head
    key: AuthenticatedKey
    params: IngestParams
    content: Content
    body: bytes


Positions = Mapping[int, Position]

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Answer)


class IngestEndpoint:
    """An ASGI application. Stateless but for the validator of the current topology snapshot. `get_topology` is called
    at every request and must be cheap."""

    def __init__(
        self,
        *,
        commit: GroupCommit,
        keys: KeyAuthenticator,
        get_topology: Callable[[], Topology],
        limits: RequestLimits,
        window: AcceptWindow,
        retry_after_seconds: int,
        viewers: ViewerNumbers,
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
        self._window = window
        self._retry_after_seconds = retry_after_seconds
        self._viewers = viewers
        self._limiter = limiter
        self._acceptor: Acceptor | None = None
        self._random = random.Random()  # noqa: S311 - jitter, no secret
        self._meter = IngestMeter(lambda: commit.buffered_count)

    def close(self) -> None:
        """Publishes the counts since the last second."""
        self._meter.publish()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        head = read_head(scope["headers"])
        budget = RequestBudget(self._limiter, self._addresses)
        try:
            self._site.check(scope, head)
            if scope["method"] == "OPTIONS" and head.origin is not None:
                response = await self._answer_preflight(scope, head, budget)
            else:
                _check_method(scope["method"])
                response = await self._answer(scope, head, receive, budget)
        except Refused as refusal:
            response = self._build_refusal(refusal, head.request_id)
        except ClientGone:
            self._meter.count_request("client_gone")
            return
        except Exception:
            logger.exception("request %s failed", head.request_id, extra={"request_id": head.request_id})
            problem = Problem(status=500, code="internal_error", detail="The server failed; nothing is known stored.")
            response = self._build_refusal(Rejected(problem), head.request_id)
        self._meter.count_request(response.outcome)
        headers = (
            *response.headers,
            *budget.headers,
            (b"content-length", b"%d" % len(response.body)),
            (b"x-request-id", head.request_id.encode()),
        )
        await respond(send, response.status, headers, response.body)

    async def _answer_preflight(self, scope: dict[str, Any], head: Head, budget: RequestBudget) -> _Response:
        """The browser cannot send the key's header yet, so the key is in the query string."""
        await self._authorize(parse_params(scope.get("query_string", b"")), head, budget)
        return _Response(204, "preflight", b"", build_preflight_lines(["POST"]))

    async def _answer(self, scope: dict[str, Any], head: Head, receive: Receive, budget: RequestBudget) -> _Response:
        params = parse_params(scope.get("query_string", b""))
        key = await self._authorize(params, head, budget)
        if key.is_public:
            budget.take_of_address(key, get_client_address(scope))
        budget.take(key, Unit.REQUESTS, 1)
        if self._lag.reason is not None:
            raise TryLater(Problem(status=503, code=self._lag.reason.code, detail=self._lag.reason.detail))
        content = parse_content(head, allows_text=key.is_public)
        budget.take(key, Unit.EVENTS, 0)  # nothing is read, unpacked or decoded for a key that has used up its events
        body = await self._read(key, head, receive, content, budget)
        request = _Request(head, key, params, content, body)
        if head.idempotency_key is not None:
            return await self._answer_once(request, budget)
        answer, positions = await self._accept(request, budget)
        return _encode(await self._await_applied(answer, positions) if params.waits else answer)

    async def _answer_once(self, request: _Request, budget: RequestBudget) -> _Response:
        params = request.params
        shape = b"lines\n" if request.content.is_ndjson else b"json\n"
        claim = await self._idempotency.claim(
            owner=request.key.prefix,
            key=request.head.idempotency_key or b"",
            request=(b"strict " if params.is_strict else b"") + shape + request.body,
        )
        if claim.response is not None:
            response = _Response(claim.response.status, "repeated", claim.response.body, (_JSON, _REPLAYED))
            return await self._await_repeated(response) if params.waits else response
        try:
            answer, positions = await self._accept(request, budget)
        except Exception:
            await self._idempotency.release(claim)
            raise
        response = _encode(answer)
        # A repeated request without accepted events, or with events to be sent again, may get another response.
        if answer.accepted and not any(item.retryable for item in answer.items):
            await self._idempotency.store(claim, status=response.status, body=response.body)
        else:
            await self._idempotency.release(claim)
        return _encode(await self._await_applied(answer, positions)) if params.waits else response

    async def _read(
        self, key: AuthenticatedKey, head: Head, receive: Receive, content: Content, budget: RequestBudget
    ) -> bytes:
        body = await self._bodies.read(receive, declared_bytes=head.content_length)
        if content.encoding is not None or len(body) >= LARGE_BYTES:
            await self._turns.wait(key.prefix)
        if content.encoding is None:
            return body
        try:
            return unpack(body, content.encoding, max_bytes=self._limits.max_bytes)
        except Refused:
            budget.charge_refused_body(key, self._limits.max_bytes)
            raise

    async def _accept(self, request: _Request, budget: RequestBudget) -> tuple[_Answer, Positions]:
        """Appends the valid events. Raises Rejected, and TryLater (503) if the log stored nothing of the request."""
        unknown = UnknownFields(are_refused=request.params.is_strict)
        items = self._parse(request, budget, unknown)
        # Rejected events have cost as much as accepted ones, and so have the values that were decoded to explain them.
        budget.take(request.key, Unit.EVENTS, max(len(items), count_at_least(len(request.body))))
        acceptance = self._get_acceptor().accept(items, now_us=time.time_ns() // 1000)
        result = await self._append(acceptance) if acceptance.count else AppendResult({})
        answer, positions = _build_answer(request.head, acceptance, result, ignored=unknown.ignored)
        self._meter.count_events(accepted=answer.accepted, problems=answer.items)
        self._meter.count_ignored(unknown.ignored)
        return answer, positions

    def _parse(self, request: _Request, budget: RequestBudget, unknown: UnknownFields) -> Sequence[Item]:
        limits = self._limits
        try:
            return parse_items(
                request.body,
                is_ndjson=request.content.is_ndjson,
                max_events=limits.max_events,
                explain_max_values=limits.explain_max_values,
                unknown=unknown,
            )
        except Refused:
            budget.charge_refused_body(request.key, len(request.body))
            raise

    async def _await_applied(self, answer: _Answer, positions: Positions) -> _Answer:
        """Spooled events are not waited for: the log is away. Raises Rejected (410) if the log has lost some events."""
        if not answer.accepted:
            return answer
        try:
            is_applied = answer.spooled is msgspec.UNSET and await self._applied.wait(positions)
        except PositionLost as error:
            raise Rejected(describe_lost_position(error.lost, field="wait")) from error
        return msgspec.structs.replace(answer, applied=is_applied)

    async def _await_repeated(self, response: _Response) -> _Response:
        """A stored response, with what is applied by now."""
        answer = _decoder.decode(response.body)
        positions = {int(p): Position.parse(position) for p, position in answer.positions.items()}
        return response._replace(body=_encoder.encode(await self._await_applied(answer, positions)))

    async def _authorize(self, params: IngestParams, head: Head, budget: RequestBudget) -> AuthenticatedKey:
        """Sets the CORS headers of `budget`."""
        authorization = head.authorization if params.key is None else read_key_of_address(params.key)
        try:
            key = await self._keys.authenticate(authorization)
        except InvalidKey as error:
            readable = () if params.key is None else (READABLE,)
            raise _unauthenticated(is_missing=authorization is None, headers=readable) from error
        except KeysUnavailable as error:
            problem = Problem(status=503, code="keys_unavailable", detail=KEYS_UNAVAILABLE_DETAIL)
            raise TryLater(problem) from error
        add_log_fields(key_prefix=key.prefix)
        if Scope.EVENTS_WRITE not in key.scopes:
            detail = f"The API key lacks the scope {Scope.EVENTS_WRITE}."
            raise Rejected(Problem(status=403, code="missing_scope", detail=detail))
        if key.is_public:
            budget.origin_headers = check_origin(key, head.origin)
        return key

    def _get_acceptor(self) -> Acceptor:
        try:
            topology = self._get_topology()
        except NoTopology as error:
            problem = Problem(status=503, code="no_topology", detail="The server does not know its cluster yet.")
            raise TryLater(problem) from error
        if self._acceptor is None or self._acceptor.topology is not topology:
            self._acceptor = Acceptor(topology, self._window, viewers=self._viewers)
        return self._acceptor

    async def _append(self, acceptance: Acceptance) -> AppendResult:
        try:
            return await self._commit.submit(acceptance.by_partition, count=acceptance.count)
        except BufferFull as error:
            problem = Problem(status=503, code="overloaded", detail="Too many events wait for the event log.")
            raise TryLater(problem) from error

    def _build_refusal(self, refusal: Refused, request_id: str) -> _Response:
        headers = (PROBLEM_LINE, *refusal.headers)
        if isinstance(refusal, TryLater) and refusal.adds_retry_after:
            least = self._retry_after_seconds
            # Spread out, so that the clients of an outage do not all come back in the same second.
            headers += ((b"retry-after", b"%d" % self._random.randint(least, 2 * least)),)
        problem = refusal.problem
        return _Response(problem.status, problem.code, encode_problem(problem, request_id=request_id), headers)


def _build_answer(
    head: Head, acceptance: Acceptance, result: AppendResult, *, ignored: list[str]
) -> tuple[_Answer, Positions]:
    """`result` may name partitions of other requests. Raises TryLater (503) if the log stored nothing of this one."""
    partitions, problems, accepted = acceptance.by_partition, acceptance.problems, acceptance.count
    failed = {partition for partition in partitions if partition in result.failed}
    if failed:
        if len(failed) == len(partitions):
            raise _not_stored([result.failed[partition] for partition in failed])
        unstored = acceptance.find_unstored(failed)
        problems = sorted(problems + unstored, key=lambda problem: problem.index)
        accepted -= len(unstored)
    positions = {partition: result.positions[partition] for partition in partitions if partition in result.positions}
    answer = _Answer(
        head.request_id,
        accepted,
        len(problems),
        problems,
        {str(partition): str(position) for partition, position in positions.items()},
        ignored=ignored or msgspec.UNSET,
        spooled=True if len(positions) + len(failed) < len(partitions) else msgspec.UNSET,
    )
    return answer, positions


def _encode(answer: _Answer) -> _Response:
    """All events stored, some stored, or none valid."""
    body = _encoder.encode(answer)
    if not answer.items:
        return _Response(202, "accepted", body)
    return _Response(207, "partial", body) if answer.accepted else _Response(422, "none_valid", body)


def _check_method(method: str) -> None:
    if method != "POST":
        problem = Problem(status=405, code="method_not_allowed", detail="Events are sent with POST and read with GET.")
        raise Rejected(problem, headers=((b"allow", b"GET, HEAD, POST"),))


def _unauthenticated(*, is_missing: bool, headers: Headers) -> Rejected:
    if is_missing:
        problem = Problem(status=401, code="missing_key", detail="Send an API key: Authorization: Bearer vc_….")
        return Rejected(problem, headers=((b"www-authenticate", b"Bearer"), *headers))
    problem = Problem(status=401, code="invalid_key", detail="The API key is not valid.")
    return Rejected(problem, headers=((b"www-authenticate", b'Bearer error="invalid_token"'), *headers))


def _not_stored(errors: Sequence[EventLogError]) -> TryLater:
    unfit = next((error for error in errors if isinstance(error, LogUnfit)), None)
    if unfit is not None:
        detail = f"The event log cannot be used: {unfit}. Nothing was stored; send the events again later."
        problem = Problem(status=503, code=unfit.code, detail=detail)
    elif any(isinstance(error, EventLogFull) for error in errors):
        problem = Problem(status=503, code="log_full", detail="The event log has no room; send the events again later.")
    else:
        detail = "The event log did not confirm the events; send them again under the same ids."
        problem = Problem(status=503, code="log_unavailable", detail=detail)
    return TryLater(problem)
