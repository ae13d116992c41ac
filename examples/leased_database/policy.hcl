path "database/creds/orders" { capabilities = ["read"] }

# The policy `default` allows these two as well; where it is not given, a lease could not be renewed, or
# a replaced one not be given back before its end.
path "sys/leases/renew" { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }
