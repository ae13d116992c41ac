"""Signs an order for a partner. Where user and key are kept is not its business."""

import hmac

import secretbridge

ORDER = "order 4711: 3 umbrellas"

account = secretbridge.get_many(["partner_user", "partner_key"])
user, key = account["partner_user"].reveal(), account["partner_key"].reveal()
signature = hmac.new(key.encode(), f"{user}, {ORDER}".encode(), "sha256")
print("signed:", signature.hexdigest())
