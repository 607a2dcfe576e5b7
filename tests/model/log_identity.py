"""One partition: gateways, log servers, readers, a shard with a replica, and the leader that replaces a lost log.

Each operation is one atomic step of one process. A rule of `Rules` that is False takes one protection away.
"""

import copy
from collections import Counter
from dataclasses import dataclass, field

Position = tuple[int, int]
"""Log term, sequence."""


class Violation(AssertionError):
    """The model broke a promise."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Protections of the design."""

    identity: bool = True  # an append names the log's identity
    highest_seen: bool = True  # an append names the highest position that its gateway has seen
    producer_chain: bool = True  # the reader reports a jump in a producer's numbers
    event_ids: bool = True  # an event id is applied once
    compare_and_set: bool = True  # a batch is applied only at the position that it was read from
    floor_first: bool = True  # the floor is acknowledged before the trim
    floor_checked: bool = True  # a reader stops below the floor
    trim_below_every_copy: bool = True
    barrier: bool = True  # the end of the log is believed behind a barrier only
    term_first: bool = True  # shards have the new term before the new log opens
    loss_row: bool = True  # the position passes to a new term together with a loss row
    open_loss_end: bool = True  # that row ends with the old term, not with the highest position that is known
    fence_first: bool = True  # salvage reads an old server after its fence
    close_when_applied: bool = True  # a loss row is closed after the salvaged entries were applied
    close_above_floor: bool = True  # and only for entries that the old server had not trimmed
    run_first: bool = True  # shards refuse batches of an earlier run before the ends are compared


@dataclass(frozen=True, slots=True)
class Entry:
    """`after`: of the producer's entry that was acknowledged last."""

    event: int
    producer: int
    after: Position = (0, 0)


@dataclass(slots=True)
class Server:
    term: int
    identity: int
    entries: dict[int, Entry] = field(default_factory=dict)
    end: int = 0
    floor: int = 0
    fenced: bool = False
    exists: bool = True
    salvaged_through: Position | None = None  # in the successor


@dataclass(slots=True)
class Copy:
    """Rows of the partition on one instance."""

    position: Position = (1, 0)
    term: int = 1
    applied: Counter[int] = field(default_factory=Counter)
    losses: list[tuple[Position, Position]] = field(default_factory=list)
    producers: dict[int, Position] = field(default_factory=dict)  # the last entry of each, past `since`
    since: Position = (1, 0)
    closed: dict[int, int] = field(default_factory=dict)  # loss rows by term, for positions above this sequence
    watermark: int = 0

    def pass_over(self, position: Position) -> None:
        """What was not read up to there is reported: no producer's entry is missed before it."""
        self.producers.clear()
        self.since = position


@dataclass(slots=True)
class Gateway:
    producer: int
    server: int = 0
    identity: int = 1
    last: Position = (0, 0)
    highest: Position = (0, 0)
    spool: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Batch:
    after: Position
    server: int
    entries: tuple[tuple[int, Entry], ...]
    floor: int


class LogModel:
    """Invariant, checked after each operation: no event is applied twice, and a watermark promises nothing unapplied.

    `settle` ends all outages and checks that each acknowledged event is applied or lies in a reported range.
    """

    def __init__(self, rules: Rules, *, gateways: int = 2) -> None:
        self.rules = rules
        self.servers = [Server(term=1, identity=1)]
        self.current = 0  # by the published topology
        self.primary, self.replica = Copy(), Copy()
        self.gateways = [Gateway(producer=n) for n in range(gateways)]
        self._producers = gateways
        self.published_identity = 1
        self.acknowledged: dict[int, list[Position]] = {}
        self._order: list[int] = []  # events, by acknowledgement
        self.batches: list[Batch] = []
        self._saved: Server | None = None

    # Gateways

    def post(self, gateway: int, event: int, *, is_answer_lost: bool = False) -> None:
        one = self.gateways[gateway]
        position = self._append(one, event)
        if position is None:
            one.spool.append(event)  # acknowledged as spooled: the promise begins when the log has it
        elif is_answer_lost:
            one.spool.append(event)  # unknown: the same event is sent again
        else:
            self._acknowledge(one, event, position)

    def drain_spool(self, gateway: int) -> None:
        one = self.gateways[gateway]
        while one.spool:
            position = self._append(one, one.spool[0])
            if position is None:
                return
            self._acknowledge(one, one.spool.pop(0), position)

    def learn_topology(self, gateway: int) -> None:
        one = self.gateways[gateway]
        one.server, one.identity = self.current, self.published_identity
        if one.highest[0] < self.servers[self.current].term:
            one.highest = (self.servers[self.current].term, 0)

    def restart_gateway(self, gateway: int) -> None:
        """The process loses its memory, not its spool; it is another producer."""
        one = self.gateways[gateway]
        self.gateways[gateway] = Gateway(self._producers, one.server, one.identity, spool=one.spool)
        self._producers += 1

    def _append(self, one: Gateway, event: int) -> Position | None:
        server = self.servers[one.server]
        if not server.exists or (self.rules.identity and (server.fenced or server.identity != one.identity)):
            return None
        if self.rules.highest_seen and one.highest > (server.term, server.end):
            return None
        server.end += 1
        server.entries[server.end] = Entry(event, one.producer, one.last)
        return server.term, server.end

    def _acknowledge(self, one: Gateway, event: int, position: Position) -> None:
        if position <= one.highest:
            raise Violation(f"a gateway was given {position} after {one.highest}")
        one.highest = one.last = position
        self.acknowledged.setdefault(event, []).append(position)
        self._order.append(event)

    # Readers

    def fetch(self, *, count: int = 3) -> None:
        """A worker reads a batch; it is applied later, perhaps beside another worker's."""
        server = self.servers[self.current]
        if not self._is_ours(server):
            return
        after = self.primary.position
        past = after[1] if after[0] == server.term else 0
        entries = sorted((n, entry) for n, entry in server.entries.items() if n > past)[:count]
        if entries or after[0] < server.term or server.floor > past:
            self.batches.append(Batch(after, self.current, tuple(entries), server.floor))

    def apply(self, index: int) -> None:
        """One transaction on the primary."""
        if index >= len(self.batches):
            return
        batch = self.batches.pop(index)
        row, server = self.primary, self.servers[batch.server]
        if server.term != row.term or (self.rules.compare_and_set and row.position != batch.after):
            return
        after = batch.after
        if after[0] < server.term:
            if self.rules.loss_row:
                known = max((one.highest for one in self.gateways if one.highest[0] < server.term), default=after)
                end = (server.term, 0) if self.rules.open_loss_end else max(after, known)
                row.losses.append((after, end))
            after = (server.term, 0)
            row.pass_over(after)
        if self.rules.floor_checked and batch.floor > after[1]:
            row.losses.append((after, (server.term, batch.floor)))  # stopped, then released by an operator
            after = (server.term, batch.floor)
            row.pass_over(after)
        row.position = max(row.position, after) if self.rules.compare_and_set else after
        for sequence, entry in batch.entries:
            if (server.term, sequence) > after:
                self._apply_entry(row, entry, (server.term, sequence))
        self.check()

    def _apply_entry(self, row: Copy, entry: Entry, position: Position) -> None:
        last = row.producers.get(entry.producer, row.since)
        if self.rules.producer_chain and entry.after > last:
            row.losses.append((last, entry.after))
        row.producers[entry.producer] = position
        if not self.rules.event_ids or not row.applied[entry.event]:
            row.applied[entry.event] += 1
        row.position = position

    def advance_watermark(self, *, seen: int) -> None:
        """An idle partition is complete. `seen`: the end by the copy that answers a read, perhaps an old one."""
        server = self.servers[self.current]
        if not self._is_ours(server) or self.primary.term != server.term:
            return
        end = server.end if self.rules.barrier else min(seen, server.end)
        if self.primary.position >= (server.term, end):
            self.primary.watermark = len(self._order)
        self.check()

    # Shard

    def replicate(self) -> None:
        self.replica = copy.deepcopy(self.primary)

    def promote(self) -> None:
        """The primary is gone for good. The term stays: the leader writes it to every instance."""
        term = self.primary.term
        self.primary = copy.deepcopy(self.replica)
        self.primary.term = term

    def trim(self, *, is_share_used_up: bool = False, is_interrupted: bool = False) -> None:
        server, copies = self.servers[self.current], [self.primary.position]
        if not self._is_ours(server) or self.primary.position[0] != server.term:
            return
        if self.rules.trim_below_every_copy and not is_share_used_up:
            copies.append(self.replica.position)
        through = min(copies)
        if through[0] != server.term:
            return
        if self.rules.floor_first:
            server.floor = max(server.floor, through[1])
        server.entries = {n: entry for n, entry in server.entries.items() if n > through[1]}
        if not is_interrupted:
            server.floor = max(server.floor, through[1])
        if not is_share_used_up and self.replica.position < through:
            raise Violation("a trim removed entries that a candidate for promotion lacks")

    # Servers

    def save_server(self) -> None:
        self._saved = copy.deepcopy(self.servers[self.current])

    def restore_server(self, *, unreached: int | None = None) -> None:
        """From the copy. Its end is compared with the shard and with each gateway but `unreached`."""
        saved, server = self._saved, self.servers[self.current]
        if saved is None or saved.identity != server.identity:
            return
        seen = [self.primary.position, *(one.highest for n, one in enumerate(self.gateways) if n != unreached)]
        if self.rules.highest_seen and max(seen) > (saved.term, saved.end):
            server.exists = False  # refused: the leader replaces the log
        else:
            self.servers[self.current] = copy.deepcopy(saved)
            if self.rules.run_first:
                self.batches.clear()

    def discard_saved_server(self) -> None:
        self._saved = None

    def empty_server(self) -> None:
        """Its disk is removed, and it is started again at the same address."""
        server = self.servers[self.current]
        server.entries, server.end, server.floor, server.identity = {}, 0, 0, 0

    def lose_server(self) -> None:
        self.servers[self.current].exists = False

    def replace(self, *, is_leader_lost: bool = False) -> None:
        """A lost log gets a successor. `is_leader_lost`: its leader dies; the control database is older."""
        if self._is_ours(self.servers[self.current]):
            return
        term = self.primary.term + 1
        if any(server.term == term for server in self.servers):
            raise Violation("two logs have one term")
        self.published_identity += 1
        self.servers.append(Server(term=term, identity=self.published_identity))
        self.current = len(self.servers) - 1
        if self.rules.term_first or not is_leader_lost:
            self.primary.term = term
        else:
            self.servers[self.current].exists = False

    def return_older_server(self) -> None:
        """It was cut off, not destroyed; gateways that have not heard of its successor append to it."""
        if self.current and self.servers[self.current - 1].identity:
            self.servers[self.current - 1].exists = True

    def fence_older_server(self) -> None:
        if self.current:
            self.servers[self.current - 1].fenced = True

    def salvage(self) -> None:
        """Appends an older server's entries to its successor."""
        if not self.current or not self._is_ours(self.servers[self.current]):
            return
        old, new = self.servers[self.current - 1], self.servers[self.current]
        if not old.exists or old.salvaged_through or (self.rules.fence_first and not old.fenced):
            return
        for entry in old.entries.values():
            new.end += 1
            new.entries[new.end] = Entry(entry.event, -self.current)
        old.salvaged_through = (new.term, new.end)

    def close_loss(self) -> None:
        """Once the salvaged entries are applied, the loss row stands for the part that the old server had trimmed."""
        row = self.primary
        for server in self.servers:
            through = server.salvaged_through
            if through and (not self.rules.close_when_applied or self._are_all_applied(through)):
                row.closed[server.term] = server.floor if self.rules.close_above_floor else 0

    def _are_all_applied(self, through: Position) -> bool:
        """A position that passed a loss row in this term may have skipped salvaged entries."""
        row = self.primary
        is_skipped = any(through[0] == last[0] and last[1] for _, last in row.losses)
        return row.position[0] == through[0] and row.position >= through and not is_skipped

    def _is_ours(self, server: Server) -> bool:
        return server.exists and (not self.rules.identity or server.identity != 0)

    # Promises

    def check(self) -> None:
        twice = [event for event, times in self.primary.applied.items() if times > 1]
        if twice:
            raise Violation(f"events {twice} were applied twice")
        for event in self._order[: self.primary.watermark]:
            if not self._is_accounted_for(event):
                raise Violation(f"the watermark promises event {event}, which was not applied")

    def settle(self) -> None:
        """All outages end, everything is read, then every acknowledged event is accounted for."""
        self.replace()
        for gateway in range(len(self.gateways)):
            self.learn_topology(gateway)
            self.drain_spool(gateway)
        while True:
            self.batches.clear()
            before = self.primary.position
            self.fetch(count=100)
            self.apply(0)
            if self.primary.position == before:
                break
        missing = [event for event in self.acknowledged if not self._is_accounted_for(event)]
        if missing:
            raise Violation(f"events {missing} are neither applied nor in a loss row")
        kept = {entry.event for entry in self.servers[self.current].entries.values()}
        if skipped := [event for event in kept if not self.primary.applied[event]]:
            raise Violation(f"events {skipped} are in the log and were not applied")
        self.check()

    def _is_accounted_for(self, event: int) -> bool:
        return self.primary.applied[event] == 1 or any(
            self._is_reported(position) for position in self.acknowledged[event]
        )

    def _is_reported(self, position: Position) -> bool:
        kept_from = self.primary.closed.get(position[0])
        if kept_from is not None and position[1] > kept_from:
            return False
        return any(first < position <= last for first, last in self.primary.losses)
