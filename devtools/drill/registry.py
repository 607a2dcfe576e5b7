"""The registry of faults: name, affected parts, errors that clients may see, and constructor of each kind."""

from collections.abc import Callable, Sequence
from random import Random

from devtools.drill.context import FaultContext
from devtools.drill.drill_fault import (
    ASLEEP,
    AWAKE,
    DELAY_SECONDS,
    FAILED_OVER,
    FULL_INSTANCE,
    GATEWAY_ASLEEP,
    GATEWAY_GONE,
    LOG_AWAY,
    LONG,
    LOSS_SHARE,
    NOTHING,
    SHARD_ASLEEP,
    SHARD_PROXIES,
    WRONG_CLOCK,
    ZOMBIE,
    DrillFault,
    MakeFault,
)
from devtools.drill.errors import BadDrillOption
from devtools.drill.faults.databases import LaggingReplica, LockHolder, SlowQueries, StateRowHolder
from devtools.drill.faults.disks import FullDisk
from devtools.drill.faults.fault import CombinedFault, Fault
from devtools.drill.faults.lagging import KillAhead
from devtools.drill.faults.messages import PoisonEvent, Replays, SkewedClocks
from devtools.drill.faults.moves import FreezeMovers, KillInMove
from devtools.drill.faults.network import ProxyFault
from devtools.drill.faults.processes import (
    MEMBERS,
    FindVictim,
    Freeze,
    FreezeServer,
    KillFault,
    Restart,
    SlowSync,
    find_control,
    find_control_postgres,
    find_gateway_worker,
    find_member,
    find_pull_process,
    find_web,
    find_worker,
    find_worker_process,
)
from devtools.drill.faults.shards import FrozenShard
from devtools.drill.faults.zombies import FreezeInFlush
from devtools.drill.log_faults import build_log_faults
from devtools.drill.plan import ClusterPart, Kind
from devtools.drill.tcp_proxy import TcpProxy
from devtools.localcluster.spec import BROKER_SERVER, CONTROL_SERVER, LOG_SERVER


def _build_patroni_faults() -> list[DrillFault]:
    """Of the control database's leader. Frozen for longer than Patroni waits, so that another member leads."""
    server, member = "the server of the control database's leader, not of its Patroni", "the control database's leader"
    return [
        DrillFault(Kind(name, frozenset({ClusterPart.CONTROL}), hold), what, NOTHING, make, of_patroni=True)
        for name, what, hold, make in (
            (
                "kill-control-server",
                f"kill -9 of {server}",
                (0.0, 0.0),
                _bind(KillFault, find_control_postgres),
            ),
            (
                "freeze-control-server",
                f"SIGSTOP, later SIGCONT, of {server}",
                FAILED_OVER,
                _bind(FreezeServer, find_control_postgres),
            ),
            (
                "freeze-control-member",
                f"SIGSTOP, later SIGCONT, of {member} with its Patroni",
                FAILED_OVER,
                _bind(Freeze, find_control),
            ),
        )
    ]


def _build_process_faults() -> list[DrillFault]:
    parts = {
        "beat": ClusterPart.BEAT,
        "leader": ClusterPart.CONFIG_SERVICE,
        "shardproxy": ClusterPart.SHARD_PROXY,
        "log": ClusterPart.LOG,
        "broker": ClusterPart.BROKER,
        "control": ClusterPart.CONTROL,
        "primary": ClusterPart.SHARDS,
        "replica": ClusterPart.SHARDS,
    }
    expected_errors = {"log": LOG_AWAY}
    entries = []
    for name, part in parts.items():
        for verb, make, hold in (
            ("kill", KillFault, (0.0, 0.0)),
            ("freeze", Freeze, ASLEEP),
            ("restart", Restart, AWAKE),
        ):
            kind = Kind(f"{verb}-{name}", frozenset({part}), hold)
            what = {"kill": "kill -9 of", "freeze": "SIGSTOP, later SIGCONT, of", "restart": "restart of"}[verb]
            entries.append(
                DrillFault(kind, f"{what} the {name}", expected_errors.get(name, NOTHING), _bind(make, MEMBERS[name]))
            )
    return entries


def _bind(make: Callable[[FaultContext, FindVictim, Random], Fault], find_victim: FindVictim) -> MakeFault:
    return lambda context, rng: make(context, find_victim, rng)


def _build_application_faults() -> list[DrillFault]:
    gateway, workers = frozenset({ClusterPart.GATEWAY}), frozenset({ClusterPart.WORKERS})
    return [
        DrillFault(
            Kind("kill-gateway", gateway), "kill -9 of a gateway process", GATEWAY_GONE,
            _bind(KillFault, find_gateway_worker),
        ),
        DrillFault(
            Kind("freeze-gateway", gateway, ASLEEP), "a gateway process is frozen and wakes", GATEWAY_ASLEEP,
            _bind(Freeze, find_gateway_worker),
        ),
        DrillFault(
            Kind("restart-gateway", gateway, AWAKE), "restart of the gateway", GATEWAY_GONE, _bind(Restart, find_web)
        ),
        DrillFault(
            Kind("kill-worker", workers), "kill -9 of Celery's worker and all of its processes", NOTHING,
            lambda context, rng: KillFault(context, find_worker, rng, with_children=True),
        ),
        DrillFault(
            Kind("kill-worker-main", workers), "kill -9 of Celery's worker alone, without its processes", NOTHING,
            _bind(KillFault, find_worker),
        ),
        DrillFault(
            Kind("kill-worker-process", workers), "kill -9 of one of Celery's processes", NOTHING,
            _bind(KillFault, find_worker_process),
        ),
        DrillFault(
            Kind("freeze-worker", workers, ZOMBIE), "a Celery process is frozen while others do its work",
            NOTHING, _bind(Freeze, find_worker_process),
        ),
        DrillFault(
            Kind("kill-puller", workers), "kill -9 of a pull process", NOTHING, _bind(KillFault, find_pull_process)
        ),
        DrillFault(
            Kind("freeze-puller", workers, ZOMBIE), "a pull process is frozen while others do its work, and wakes",
            NOTHING, _bind(Freeze, find_pull_process),
        ),
        DrillFault(
            Kind("freeze-flush", workers, ZOMBIE), "a pull process is frozen in the middle of a flush and wakes",
            NOTHING, FreezeInFlush,
        ),
        DrillFault(
            Kind("kill-beats", frozenset({ClusterPart.BEAT})), "kill -9 of every beat at the same moment", NOTHING,
            _kill_beats,
        ),
        DrillFault(
            Kind("restart-worker", workers, AWAKE), "restart of Celery's worker", NOTHING, _bind(Restart, find_worker)
        ),
    ]  # fmt: skip


def _kill_beats(context: FaultContext, rng: Random) -> Fault:
    names = context.cluster.spec.beat_names
    return CombinedFault([KillFault(context, find_member(name), rng) for name in names])


def _build_network_faults() -> list[DrillFault]:
    def slow_down(proxy: TcpProxy) -> None:
        proxy.slow_down(seconds=DELAY_SECONDS)

    def lose(proxy: TcpProxy) -> None:
        proxy.lose(share=LOSS_SHARE)

    impairments = (
        ("cut", TcpProxy.hold, "no packets between all clients and"),
        ("slow", slow_down, f"{DELAY_SECONDS * 1000:.0f} ms delay each way between all clients and"),
        ("lossy", lose, f"{LOSS_SHARE:.0%} packet loss between all clients and"),
    )
    places = {
        LOG_SERVER: (ClusterPart.LOG, LOG_AWAY, LOG_SERVER),
        BROKER_SERVER: (ClusterPart.BROKER, NOTHING, BROKER_SERVER),
        CONTROL_SERVER: (ClusterPart.CONTROL, NOTHING, CONTROL_SERVER),
        "primary": (ClusterPart.SHARDS, NOTHING, SHARD_PROXIES),
        "replica": (ClusterPart.SHARDS, NOTHING, SHARD_PROXIES),
    }
    return [
        DrillFault(
            Kind(f"{verb}-{name}", frozenset({part}), ASLEEP),
            f"{what} the {name}",
            expected_errors,
            _bind_proxy(MEMBERS[name], impair),
            proxies=frozenset({proxy}),
        )
        for verb, impair, what in impairments
        for name, (part, expected_errors, proxy) in places.items()
    ]


def _bind_proxy(find_victim: FindVictim, impair: Callable[[TcpProxy], None]) -> MakeFault:
    return lambda context, rng: ProxyFault(context, find_victim, rng, impair=impair)


def _build_database_faults() -> list[DrillFault]:
    shards = frozenset({ClusterPart.SHARDS})
    pipeline = shards | {ClusterPart.GATEWAY, ClusterPart.LOG, ClusterPart.WORKERS}  # no other fault may delay counts
    return [
        DrillFault(
            Kind("hold-state-row", pipeline, LONG),
            "a foreign transaction locks the state row of one partition; the others of its shard stay fresh", NOTHING,
            StateRowHolder,
        ),
        DrillFault(
            Kind("freeze-shard", pipeline, ASLEEP),
            "every server of a shard is frozen and wakes; the other shards are as fresh as before", SHARD_ASLEEP,
            FrozenShard,
        ),
        DrillFault(Kind("slow-queries", shards, ASLEEP), "foreign statements that never end", NOTHING, SlowQueries),
        DrillFault(
            Kind("hold-locks", shards, ASLEEP), "a foreign transaction locks rows that flushes need, until it is ended",
            NOTHING, LockHolder,
        ),
        DrillFault(
            Kind("lag-replica", shards, ZOMBIE), "a replica receives WAL without replaying it", NOTHING, LaggingReplica
        ),
        DrillFault(Kind("kill-primary-in-move", shards), "a primary dies while partitions move", NOTHING, KillInMove),
        DrillFault(
            Kind("freeze-movers", shards),
            "movers are frozen in their moves, and wake when others have finished these and moved back", NOTHING,
            FreezeMovers,
        ),
        DrillFault(
            Kind("kill-primary-ahead", shards), "a primary dies seconds ahead of its replica", NOTHING, KillAhead
        ),
    ]  # fmt: skip


def _build_disk_faults() -> list[DrillFault]:
    places = {
        LOG_SERVER: (LOG_SERVER, ClusterPart.LOG, LOG_AWAY),
        "shard": (FULL_INSTANCE, ClusterPart.SHARDS, NOTHING),
    }
    slow_log = DrillFault(
        Kind("slow-log-disk", frozenset({ClusterPart.LOG}), ASLEEP),
        "every fsync of the log takes 0.3 s",
        LOG_AWAY,
        _bind(SlowSync, MEMBERS["log"]),
    )
    return [slow_log] + [
        DrillFault(
            Kind(f"fill-{name}-disk", frozenset({part}), ASLEEP), f"no space left on the disk of {server}",
            expected_errors, _bind_disk(server), disk=server,
        )
        for name, (server, part, expected_errors) in places.items()
    ]  # fmt: skip


def _bind_disk(server: str) -> MakeFault:
    return lambda context, _rng: FullDisk(context, server=server)


def _build_message_faults() -> list[DrillFault]:
    return [
        DrillFault(
            Kind("replay", frozenset({ClusterPart.MESSAGES}), AWAKE), "every client sends old batches again", NOTHING,
            lambda context, _rng: Replays(context),
        ),
        DrillFault(
            Kind("clock", frozenset({ClusterPart.CLIENTS}), AWAKE),
            "clocks of two clients are ten minutes off", WRONG_CLOCK,
            lambda context, _rng: SkewedClocks(context),
        ),
        DrillFault(
            Kind("poison", frozenset({ClusterPart.MESSAGES})), "an event in the log that no shard can store", NOTHING,
            PoisonEvent,
        ),
    ]  # fmt: skip


def _build_combined(entries: Sequence[DrillFault]) -> list[DrillFault]:
    """Kills of a primary together with a process that takes part in its failover."""
    by_name = {entry.kind.name: entry for entry in entries}
    combined = []
    for helper in ("leader", "control", "broker"):
        both = [by_name["kill-primary"], by_name[f"kill-{helper}"]]
        combined.append(
            DrillFault(
                Kind(f"kill-primary-and-{helper}", both[0].kind.touches | both[1].kind.touches),
                f"kill -9 of a primary and of the {helper} at the same moment",
                NOTHING,
                _bind_combined([entry.make for entry in both]),
            )
        )
    return combined


def _bind_combined(makes: Sequence[MakeFault]) -> MakeFault:
    return lambda context, rng: CombinedFault([make(context, rng) for make in makes])


def _build_faults() -> dict[str, DrillFault]:
    entries = [
        *_build_application_faults(),
        *_build_process_faults(),
        *_build_patroni_faults(),
        *_build_network_faults(),
        *_build_database_faults(),
        *_build_disk_faults(),
        *build_log_faults(),
        *_build_message_faults(),
    ]
    return {entry.kind.name: entry for entry in [*entries, *_build_combined(entries)]}


FAULTS = _build_faults()

QUICK_KINDS = (
    "kill-gateway", "kill-worker", "kill-puller", "freeze-flush", "kill-log", "kill-primary", "kill-replica",
    "kill-leader", "kill-beat", "kill-broker", "kill-control", "kill-shardproxy", "hold-locks", "replay", "clock",
    "poison",
)  # fmt: skip
QUICK_SEED = 20261126


def choose_faults(
    names: Sequence[str], *, can_mount: bool, can_step_clock: bool = True, has_patroni: bool = False
) -> list[DrillFault]:
    """The named faults in this order, or all that are possible on this machine. Raises BadDrillOption."""
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise BadDrillOption(f"--faults: unknown: {', '.join(unknown)}; --list shows all")
    entries = [FAULTS[name] for name in names or FAULTS]
    possible = [entry for entry in entries if can_mount or not entry.disk]
    if names and len(possible) < len(entries):
        raise BadDrillOption("--faults: a full disk needs root and the right to mount file systems")
    if names and not can_step_clock and any(entry.steps_clock for entry in possible):
        raise BadDrillOption("--faults: a stepped clock needs a C compiler")
    possible = [entry for entry in possible if can_step_clock or not entry.steps_clock]
    fitting = [entry for entry in possible if _fits(entry, has_patroni=has_patroni)]
    if names and len(fitting) < len(possible):
        needs = "exclude" if has_patroni else "need"
        raise BadDrillOption(f"--faults: some {needs} a control database under Patroni: --control-replicas")
    return fitting


def _fits(entry: DrillFault, *, has_patroni: bool) -> bool:
    """Members that Patroni runs have no proxy in front."""
    return CONTROL_SERVER not in entry.proxies if has_patroni else not entry.of_patroni
