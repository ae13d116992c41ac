#!/bin/bash
# What the entrypoint of the official PostgreSQL image does with its variables, and nothing else of it:
# a variable or the file that its _FILE names, initdb with the password and the given arguments, exec.
set -Eeuo pipefail
file_env() {
	local var="$1" file_var="${1}_FILE"
	if [ "${!var:-}" ] && [ "${!file_var:-}" ]; then
		echo "both $var and $file_var are set" >&2
		exit 1
	fi
	local val="${!var:-}"
	if [ "${!file_var:-}" ]; then val="$(<"${!file_var}")"; fi
	export "$var"="$val"
	unset "$file_var"
}
file_env POSTGRES_PASSWORD
file_env POSTGRES_USER
file_env POSTGRES_DB
file_env POSTGRES_INITDB_ARGS
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	[ "$POSTGRES_PASSWORD" ] || { echo "no password" >&2; exit 1; }
	eval "$PGBIN"'/initdb --username="$POSTGRES_USER" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD") --auth-host=scram-sha-256 --no-sync -D "$PGDATA" '"$POSTGRES_INITDB_ARGS"
	"$PGBIN/pg_ctl" -D "$PGDATA" -o "-c listen_addresses='' -k $PGDATA" -w start
	"$PGBIN/psql" -v ON_ERROR_STOP=1 -h "$PGDATA" -U "$POSTGRES_USER" -d postgres -c "CREATE DATABASE \"$POSTGRES_DB\""
	"$PGBIN/pg_ctl" -D "$PGDATA" -m fast -w stop
fi
exec "$PGBIN/postgres" -D "$PGDATA" -c "port=$PORT" -c listen_addresses=127.0.0.1 -c "unix_socket_directories=$PGDATA" -c fsync=off
