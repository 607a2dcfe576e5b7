-- Roles and database of a shard, made with the data of its first primary; replicas have them from there.
\set service_password `cat /run/secrets/service_password`
\set replication_password `cat /run/secrets/replication_password`
\set configservice_password `cat /run/secrets/configservice_password`
\set shardproxy_password `cat /run/secrets/shardproxy_password`
CREATE ROLE viewcounter LOGIN PASSWORD :'service_password';
GRANT pg_monitor TO viewcounter;
CREATE ROLE replicator LOGIN REPLICATION PASSWORD :'replication_password';
CREATE ROLE viewcounter_shardproxy LOGIN PASSWORD :'shardproxy_password';
GRANT pg_monitor, pg_signal_backend, pg_use_reserved_connections TO viewcounter_shardproxy;
CREATE ROLE viewcounter_configservice LOGIN REPLICATION PASSWORD :'configservice_password';
GRANT pg_signal_backend, viewcounter TO viewcounter_configservice;
GRANT SET, ALTER SYSTEM ON PARAMETER primary_conninfo, synchronous_standby_names, default_transaction_read_only
    TO viewcounter_configservice;
-- What pg_rewind reads from the server that it goes by.
GRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean), pg_read_binary_file(text),
    pg_read_binary_file(text, bigint, bigint, boolean) TO replicator;
CREATE DATABASE viewcounter_shard OWNER viewcounter;
\connect viewcounter_shard
CREATE EXTENSION pg_stat_statements;
GRANT EXECUTE ON FUNCTION pg_reload_conf(), pg_promote(boolean, integer) TO viewcounter_configservice;
