"""Implements `manage.py dead_letters`: list, replay or discard dead letters, resume stopped partitions."""

import getpass
import json
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from django.core.management.base import CommandError, OutputWrapper

from clusterproxy.errors import ClusterProxyError
from clusterproxy.proxy import ClusterProxy
from shardproxy.errors import ShardProxyError
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.deadletters.errors import DeadLetterUnconfirmed, UnknownDeadLetter
from viewcounter.deadletters.replay import (
    DONE,
    DeadLetterId,
    FoundDeadLetter,
    ReplayOutcome,
    ReplayRules,
    discard_dead_letters,
    get_dead_letter,
    iterate_dead_letters,
    replay_dead_letters,
)
from viewcounter.deadletters.stopped import list_stopped, resume
from viewcounter.eventlog.registry import get_event_log
from viewcounter.storage.dead_letters import DeadLetterFilter, DeadLetterState

Act = Callable[[list[DeadLetterId]], list[ReplayOutcome]]


class DeadLetterActions:
    """One method for each action; `options` are the command's."""

    def __init__(self, *, stdout: OutputWrapper, stderr: OutputWrapper) -> None:
        self.stdout = stdout
        self.stderr = stderr

    def run(self, options: dict[str, Any]) -> None:
        cluster = get_cluster()
        try:
            getattr(self, f"_{options['action']}")(cluster, options)
        except (UnknownDeadLetter, DeadLetterUnconfirmed) as error:
            raise CommandError(str(error)) from error
        except (ClusterProxyError, ShardProxyError) as error:
            raise CommandError(f"not all shards answered: {error}") from error

    def _list(self, cluster: ClusterProxy, options: dict[str, Any]) -> None:
        count = 0
        state = None if options["state"] is None else DeadLetterState(options["state"])
        for found in islice(_iterate(cluster, options, state=state), options["limit"]):
            self._print_letter(found, as_json=options["json"])
            count += 1
        self.stderr.write(f"{count} dead letters")

    def _show(self, cluster: ClusterProxy, options: dict[str, Any]) -> None:
        found, payload = get_dead_letter(cluster, DeadLetterId.parse(options["id"]))
        if options["export"] is not None:
            try:
                with options["export"].open("xb") as file:
                    file.write(payload)
            except OSError as error:
                raise CommandError(f"not exported: {error}") from error
        document = _describe(found) | {"payload": b64encode(payload).decode()}
        if options["json"]:
            self.stdout.write(json.dumps(document, default=str))
        else:
            for name, value in document.items():
                self.stdout.write(f"{name:14} {'' if value is None else _make_printable(str(value))}")

    def _replay(self, cluster: ClusterProxy, options: dict[str, Any]) -> None:
        def act(ids: list[DeadLetterId]) -> list[ReplayOutcome]:
            rules = ReplayRules(cluster.topology, datetime.now(UTC), get_config().accept.past_seconds)
            return replay_dead_letters(cluster, get_event_log(), ids, actor=_get_actor(), rules=rules)

        self._resolve(cluster, options, act)

    def _discard(self, cluster: ClusterProxy, options: dict[str, Any]) -> None:
        self._resolve(cluster, options, lambda ids: discard_dead_letters(cluster, ids, actor=_get_actor()))

    def _resolve(self, cluster: ClusterProxy, options: dict[str, Any], act: Act) -> None:
        results: Counter[str] = Counter()
        ids = _choose(cluster, options)
        while batch := list(islice(ids, get_config().dead_letters.max_items)):
            outcomes = act(batch)
            results.update(outcome.result.value for outcome in outcomes)
            for outcome in outcomes:
                self._print_outcome(outcome, as_json=options["json"])
            self.stderr.write(f"{results.total()} done: {_describe_results(results)}")
        undone = sum(count for result, count in results.items() if result not in DONE)
        if undone:
            raise CommandError(f"{undone} of {results.total()} dead letters are unchanged")

    def _stopped(self, cluster: ClusterProxy, options: dict[str, Any]) -> None:
        for one in list_stopped(cluster):
            if options["json"]:
                self.stdout.write(json.dumps(asdict(one), default=str))
            else:
                since = "" if one.stopped_at is None else f" since {one.stopped_at:%Y-%m-%d %H:%M:%S %Z}"
                self.stdout.write(f"partition {one.partition} at {one.position}{since}: {one.reason}: {one.detail}")

    def _resume(self, cluster: ClusterProxy, options: dict[str, Any]) -> None:
        partition, accepted = options["partition"], options["accept_dead_letters"]
        if not 0 <= partition < cluster.topology.partition_count:
            raise CommandError(f"no such partition: valid are 0 to {cluster.topology.partition_count - 1}")
        if accepted < 0:
            raise CommandError("--accept-dead-letters must not be negative")
        if not resume(cluster, partition, actor=_get_actor(), accept_dead_letters=accepted):
            raise CommandError(f"partition {partition} is not stopped")
        if options["json"]:
            self.stdout.write(json.dumps({"partition": partition, "resumed": True}))
        else:
            self.stdout.write(f"partition {partition} is resumed; {accepted} dead letters are accepted")

    def _print_letter(self, found: FoundDeadLetter, *, as_json: bool) -> None:
        letter = found.letter
        if as_json:
            self.stdout.write(json.dumps(_describe(found), default=str))
            return
        event = "unreadable" if letter.event_id is None else f"{letter.event_id} of {letter.video_id}"
        text = (
            f"{found.id} partition {letter.partition} {letter.state.value} {letter.refused_at:%Y-%m-%d %H:%M:%S} "
            f"{event}: {letter.reason}: {letter.detail}"
        )
        self.stdout.write(_make_printable(text))

    def _print_outcome(self, outcome: ReplayOutcome, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(
                json.dumps({"id": str(outcome.id), "result": outcome.result.value, "detail": outcome.detail})
            )
        elif outcome.result not in DONE:
            self.stdout.write(_make_printable(f"{outcome.id}: {outcome.result.value}: {outcome.detail}"))


def _iterate(
    cluster: ClusterProxy, options: dict[str, Any], *, state: DeadLetterState | None
) -> Iterator[FoundDeadLetter]:
    partition = options["partition"]
    if partition is not None and not 0 <= partition < cluster.topology.partition_count:
        raise CommandError(f"--partition must be 0 to {cluster.topology.partition_count - 1}")
    wanted = DeadLetterFilter(
        partition=partition,
        state=state,
        reason=options["reason"],
        video_id=options["video"],
        start=options["since"],
        end=options["until"],
    )
    return iterate_dead_letters(cluster, wanted, page_size=get_config().dead_letters.max_items)


def _choose(cluster: ClusterProxy, options: dict[str, Any]) -> Iterator[DeadLetterId]:
    if options["ids"]:
        return iter([DeadLetterId.parse(text) for text in options["ids"]])
    if options["limit"] is None:
        raise CommandError("give ids, or filters with --limit")
    found = _iterate(cluster, options, state=DeadLetterState.NEW)
    return (one.id for one in islice(found, options["limit"]))


def _describe(found: FoundDeadLetter) -> dict[str, Any]:
    return asdict(found.letter) | {"id": str(found.id)}


def _describe_results(results: Counter[str]) -> str:
    return ", ".join(f"{count} {result}" for result, count in sorted(results.items()))


def _make_printable(text: str) -> str:
    """Text of clients must not control the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _get_actor() -> str:
    return f"{getpass.getuser()} (manage.py)"
