"""Builds the members of a cluster from its spec, with their addresses."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from devtools.localcluster.applications import (
    Application,
    Beat,
    Daemon,
    ShardProxy,
    Web,
    Worker,
    build_child_environment,
)
from devtools.localcluster.binaries import find_valkey_server
from devtools.localcluster.environment import (
    NETWORK_NAMES,
    SERVER_NAMES,
    ClusterEnvironment,
    build_environment,
    move_to_files,
)
from devtools.localcluster.member import Member
from devtools.localcluster.patroni import PatroniServer, choose_members, get_port_names
from devtools.localcluster.placement import Placement, place_postgres
from devtools.localcluster.ports import LOOPBACK, assign_ports
from devtools.localcluster.postgres import PostgresServer, find_primary
from devtools.localcluster.signing_key import SETTING as SIGNING_KEY_SETTING
from devtools.localcluster.signing_key import get_signing_key_path
from devtools.localcluster.spec import (
    BROKER_SERVER,
    CONTROL_DATABASE,
    CONTROL_SERVER,
    LOG_SERVER,
    SERVICE_ROLE,
    SHARD_DATABASE,
    SHARD_PROXY,
    WEB,
    WORKER,
    ClusterSpec,
)
from devtools.localcluster.state import StateFolder, read_json, write_json
from devtools.localcluster.valkey import ValkeyDurability, ValkeyServer
from devtools.localcluster.waiting import Waiter

Reach = Callable[[str, int], int]
"""From name and port of a server to the port that clients use: that of a proxy, if there is one in front of it."""


def reach_directly(_name: str, port: int) -> int:
    return port


@dataclass(frozen=True, slots=True)
class Layout:
    """All members except servers provided from outside. `shards`: instances by the name of their shard."""

    environment: ClusterEnvironment
    child_environment: dict[str, str]
    controls: tuple[PostgresServer, ...]
    valkeys: tuple[ValkeyServer, ...]
    shards: dict[str, tuple[PostgresServer, ...]]
    applications: dict[str, Application] = field(default_factory=dict)

    @property
    def servers(self) -> dict[str, Member]:
        instances = [instance for shard in self.shards.values() for instance in shard]
        return {server.name: server for server in (*self.valkeys, *self.controls, *instances)}

    @property
    def control(self) -> PostgresServer | None:
        """The control database's primary, as its data say; None if it is provided from outside."""
        return choose_primary(self.controls) if self.controls else None

    @property
    def web_url(self) -> str:
        return f"http://{self.environment.settings['VIEWCOUNTER_WEB_BIND']}"


def build_layout(
    state: StateFolder,
    *,
    spec: ClusterSpec,
    outer: Mapping[str, str],
    waiter: Waiter,
    replace_taken_ports: bool,
    reach: Reach = reach_directly,
) -> Layout:
    shards = {name: spec.get_instance_names(name) for name in spec.shard_names} | read_added_shards(state)
    instance_names = (name for names in shards.values() for name in names)
    placement = place_postgres(state, configured_bin_dir=spec.postgres_bin_dir)
    members = choose_members(placement, wanted=spec.control_replicas)
    control_ports = [port for member in members for port in get_port_names(member)]
    names = (*NETWORK_NAMES, *control_ports, *spec.config_service_names, *spec.mover_names, *instance_names)
    ports = assign_ports(state, names, replace_taken=replace_taken_ports)
    told = {name: reach(name, port) if name in SERVER_NAMES else port for name, port in ports.items()}
    environment = build_environment(state, ports=told, outer=outer, control_servers=members or (CONTROL_SERVER,))
    if spec.exchanges_secrets:
        move_to_files(state, environment.settings)
    environment.settings["VIEWCOUNTER_CONTROL_BACKUP_BIN_DIR"] = str(placement.programs.bin_dir)
    child_environment = build_child_environment(environment.settings, outer=outer, env_file=state.environment_file)
    common = {"state": state, "waiter": waiter}
    server = common | {"ready_seconds": spec.server_ready_seconds}
    return Layout(
        environment=environment,
        child_environment=child_environment,
        controls=()
        if CONTROL_SERVER in environment.given
        else _build_controls(state, members, ports, placement, server),
        valkeys=_build_valkeys(state, spec, ports, environment, server),
        shards={
            name: _build_shard(state, instance_names, ports, placement, server)
            for name, instance_names in shards.items()
        },
        applications=_build_applications(
            state,
            spec,
            ports,
            {**common, "ready_seconds": spec.application_ready_seconds, "environment": child_environment},
        ),
    )


def build_added_shard(
    state: StateFolder, *, spec: ClusterSpec, taken: Collection[str], waiter: Waiter
) -> tuple[str, tuple[PostgresServer, ...]]:
    """A further shard under the first name that is not `taken`; recorded, so that later starts include it."""
    name = next(name for n in count(1) if (name := f"shard{n}") not in taken)
    instance_names = spec.get_instance_names(name)
    ports = assign_ports(state, instance_names, replace_taken=False)
    placement = place_postgres(state, configured_bin_dir=spec.postgres_bin_dir)
    server = {"state": state, "waiter": waiter, "ready_seconds": spec.server_ready_seconds}
    write_json(state.added_shards_file, read_added_shards(state) | {name: instance_names})
    return name, _build_shard(state, instance_names, ports, placement, server)


def read_added_shards(state: StateFolder) -> dict[str, tuple[str, ...]]:
    """Names of instances, by the names of shards that were added to a running cluster."""
    added = read_json(state.added_shards_file)
    return {name: tuple(names) for name, names in added.items()} if isinstance(added, dict) else {}


def _build_controls(
    state: StateFolder,
    members: tuple[str, ...],
    ports: Mapping[str, int],
    placement: Placement,
    member: dict[str, Any],
) -> tuple[PostgresServer, ...]:
    """Without `members` one server of ours, otherwise those that Patroni runs."""
    common = {"service_password": state.get_secret("control_password"), "placement": placement, **member}
    if members:
        return tuple(PatroniServer(name=name, names=members, ports=ports, **common) for name in members)
    server = PostgresServer(
        name=CONTROL_SERVER,
        port=ports[CONTROL_SERVER],
        database=CONTROL_DATABASE,
        find_upstream=lambda: None,
        **common,
    )
    return (server,)


def _build_valkeys(
    state: StateFolder,
    spec: ClusterSpec,
    ports: Mapping[str, int],
    environment: ClusterEnvironment,
    member: dict[str, Any],
) -> tuple[ValkeyServer, ...]:
    kinds = {
        LOG_SERVER: (ValkeyDurability.ALWAYS, spec.log_memory_bytes),
        BROKER_SERVER: (ValkeyDurability.NEVER, spec.broker_memory_bytes),
    }
    wanted = {name: kind for name, kind in kinds.items() if name not in environment.given}
    if not wanted:
        return ()
    program = find_valkey_server(spec.valkey_server)
    return tuple(
        ValkeyServer(
            name=name,
            server_program=program,
            port=ports[name],
            password=state.get_secret(f"{name}_password"),
            durability=durability,
            memory_bytes=memory_bytes,
            **member,
        )
        for name, (durability, memory_bytes) in wanted.items()
    )


def _build_shard(
    state: StateFolder,
    names: tuple[str, ...],
    ports: Mapping[str, int],
    placement: Placement,
    member: dict[str, Any],
) -> tuple[PostgresServer, ...]:
    instances: list[PostgresServer] = []

    def find_upstream() -> PostgresServer | None:
        return find_primary(instances)

    instances += [
        PostgresServer(
            name=name,
            port=ports[name],
            database=SHARD_DATABASE,
            service_password=state.get_secret("shard_password"),
            placement=placement,
            find_upstream=find_upstream,
            **member,
        )
        for name in names
    ]
    return tuple(instances)


def _build_applications(
    state: StateFolder, spec: ClusterSpec, ports: Mapping[str, int], member: dict[str, Any]
) -> dict[str, Application]:
    signing = {SIGNING_KEY_SETTING: str(get_signing_key_path(state))}
    if not spec.config_services:  # else they alone have the key
        member = member | {"environment": {**member["environment"], **signing}}

    def with_settings(**settings: str) -> dict[str, Any]:
        return member | {"environment": {**member["environment"], **settings}}

    def build_daemons(names: tuple[str, ...], command: str, bind: str, **settings: str) -> dict[str, Application]:
        own = with_settings(**settings)
        return {
            name: Daemon(name=name, command=command, bind=bind, address=f"{LOOPBACK}:{ports[name]}", **own)
            for name in names
        }

    return {
        WEB: Web(name=WEB, workers=spec.web_workers, **member),
        WORKER: Worker(
            name=WORKER,
            processes=spec.worker_processes,
            **with_settings(VIEWCOUNTER_PULL_PROCESSES=str(spec.pull_processes)),
        ),
        **{name: Beat(name=name, **member) for name in spec.beat_names},
        **build_daemons(
            spec.config_service_names, "run_configservice", "VIEWCOUNTER_CONFIGSERVICE_METRICS_BIND", **signing
        ),
        SHARD_PROXY: ShardProxy(name=SHARD_PROXY, **member),
        **build_daemons(spec.mover_names, "run_mover", "VIEWCOUNTER_MOVE_METRICS_BIND"),
    }


def choose_primary(instances: tuple[PostgresServer, ...]) -> PostgresServer:
    """The primary of a shard by the data of its instances; the first instance if they have no data yet."""
    return find_primary(instances) or instances[0]


def describe_instances(
    state: StateFolder, layout: Layout, *, zone: str, reach: Reach = reach_directly
) -> dict[str, Any]:
    """The input of `manage.py init_cluster --instances`: every instance with its present address and role."""
    return {
        "shards": [
            {
                "name": shard_name,
                "instances": [
                    {
                        "name": instance.name,
                        "role": "primary" if instance is choose_primary(instances) else "replica",
                        "host": LOOPBACK,
                        "port": reach(instance.name, instance.port),
                        "database": instance.database,
                        "user": SERVICE_ROLE,
                        "password_ref": f"file:{state.get_secret_path('shard_password')}",
                        "zone": zone,
                    }
                    for instance in instances
                ],
            }
            for shard_name, instances in layout.shards.items()
        ]
    }


def describe_layout(layout: Layout, *, pull_processes: int) -> dict[str, Any]:
    """The layout as JSON, for `bin/status` and `bin/down`, which are other processes."""
    databases = [
        {"name": server.name, "shard": shard, "port": server.port, "database": server.database}
        for shard, servers in {"": layout.controls, **layout.shards}.items()
        for server in servers
    ]
    return {
        "members": [*layout.servers, *layout.applications],
        "databases": databases,
        "web_url": layout.web_url,
        "pull_processes": pull_processes,
    }
