"""The servers of a local cluster as the proxies know them."""

from configservice.topology.model import Instance, Role
from devtools.localcluster import LocalCluster
from devtools.localcluster.spec import SERVICE_ROLE, SUPERUSER_ROLE


class Servers:
    """`mend` undoes what a test has done to any server."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster

    def get_instance(self, name: str, *, role: Role | None = None) -> Instance:
        server = self.cluster.database(name)
        return Instance(
            name=name,
            role=role or (Role.REPLICA if server.is_replica else Role.PRIMARY),
            host="127.0.0.1",
            port=server.port,
            database=server.database,
            user=SERVICE_ROLE,
            password_ref=f"file:{self.cluster.state.get_secret_path('shard_password')}",
        )

    def get_names(self) -> list[str]:
        return [server.name for shard in self.cluster.layout.shards.values() for server in shard]

    def create_table(self) -> None:
        """`probe(id, note)`, empty, and `shard_identity` at term 1, on every shard."""
        for shard in self.cluster.layout.shards.values():
            with shard[0].connect() as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS probe (id int PRIMARY KEY, note text)")
                connection.execute("DELETE FROM probe")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS shard_identity"
                    " (term bigint NOT NULL, cluster_id uuid, generation bigint NOT NULL DEFAULT 0)"
                )
                connection.execute("DELETE FROM shard_identity")
                connection.execute("INSERT INTO shard_identity VALUES (1)")

    def set_term(self, name: str, term: int) -> None:
        with self.cluster.database(name).connect() as connection:
            connection.execute("UPDATE shard_identity SET term = %s", [term])

    def set_cluster(self, name: str, cluster_id: str) -> None:
        with self.cluster.database(name).connect() as connection:
            connection.execute("UPDATE shard_identity SET cluster_id = %s", [cluster_id])

    def set_generation(self, name: str, generation: int) -> None:
        with self.cluster.database(name).connect() as connection:
            connection.execute("UPDATE shard_identity SET generation = %s", [generation])

    def list_rows(self, name: str) -> list[int]:
        """The ids in `probe`, asked without any proxy."""
        with self.cluster.database(name).connect() as connection:
            return [row[0] for row in connection.execute("SELECT id FROM probe ORDER BY id")]

    def is_locked(self, name: str) -> bool:
        """Whether a transaction that touched `probe` is open."""
        with self.cluster.database(name).connect() as connection:
            return bool(connection.execute("SELECT FROM pg_locks WHERE relation = 'probe'::regclass").rowcount)

    def run_as_superuser(self, name: str, *statements: str) -> None:
        with self.cluster.database(name).connect(user=SUPERUSER_ROLE) as connection:
            connection.autocommit = True
            for statement in statements:
                connection.execute(statement)

    def start(self, *names: str) -> None:
        for name in names:
            self.cluster.server(name).start()
        for name in names:
            self.cluster.server(name).wait_ready()

    def mend(self) -> None:
        for name in self.get_names():
            server = self.cluster.server(name)
            if server.is_running:
                server.resume()
        self.start(*self.get_names())
