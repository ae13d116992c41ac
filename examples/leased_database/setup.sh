#!/bin/sh
# Sets Vault or OpenBao up for the application; run once by their administrator, who is logged in.
#
#   VAULT=bao ./setup.sh DATABASE_HOST DATABASE_PORT PASSWORD_FILE
#
# The last one holds the password of the database user `vault`, who may create roles. It is of no use
# afterwards: Vault replaces it by one that it tells nobody.
set -eu
vault=${VAULT:-vault}
here=$(dirname "$0")

"$vault" secrets enable database
"$vault" write database/config/orders \
  plugin_name=postgresql-database-plugin allowed_roles=orders \
  connection_url="postgresql://{{username}}:{{password}}@$1:$2/orders?sslmode=${PGSSLMODE:-verify-full}" \
  username=vault password=@"$3"
"$vault" write -f database/rotate-root/orders
# Times are short here so that much happens in a minute; an hour and a day are usual.
"$vault" write database/roles/orders \
  db_name=orders default_ttl=10s max_ttl=30s \
  creation_statements=@"$here/creation.sql" revocation_statements=@"$here/revocation.sql"

"$vault" policy write orders "$here/policy.hcl"
"$vault" auth list | grep -q '^approle/' || "$vault" auth enable approle
"$vault" write auth/approle/role/orders token_policies=orders token_ttl=40s token_max_ttl=2m
umask 077
"$vault" read -field=role_id auth/approle/role/orders/role-id >role_id
"$vault" write -f -field=secret_id auth/approle/role/orders/secret-id >secret_id
