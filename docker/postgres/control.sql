-- Roles and database of the control database, made with its data.
\set service_password `cat /run/secrets/service_password`
CREATE ROLE viewcounter LOGIN PASSWORD :'service_password';
CREATE DATABASE viewcounter_control OWNER viewcounter;
