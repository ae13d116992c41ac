#!/usr/bin/env bash
# Verifies the signature of an image under a strict trust policy, without touching the user's own one.
#
#   notation-verify.sh --certificate FILE [--identity SUBJECT] IMAGE
#
# --certificate  the certificate of the signer's authority, in PEM
# --identity     what the signer's certificate has to say, such as "x509.subject: C=EU, O=Example, CN=release";
#                without it any certificate of that authority is taken
#
# Exit codes: 0 verified, 1 not verified, 2 wrong usage, 3 notation is not installed.
set -euo pipefail

certificate="" identity="*" image=""
usage() {
  sed -n '4,4s/^# *//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}
while (($#)); do
  case $1 in
    --certificate | --identity)
      (($# > 1)) || usage
      [[ $1 == --certificate ]] && certificate=$2 || identity=$2
      shift
      ;;
    -*) usage ;;
    *) image=$1 ;;
  esac
  shift
done
[[ -r $certificate && -n $image && $identity != *[\"\\]* ]] || usage
command -v notation >/dev/null || { echo "${0##*/}: notation is not installed" >&2; exit 3; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/notation/truststore/x509/ca/secretbridge"
cp "$certificate" "$folder/notation/truststore/x509/ca/secretbridge/authority.pem"
cat >"$folder/notation/trustpolicy.json" <<POLICY
{
  "version": "1.0",
  "trustPolicies": [{
    "name": "secretbridge",
    "registryScopes": ["*"],
    "signatureVerification": {"level": "strict"},
    "trustStores": ["ca:secretbridge"],
    "trustedIdentities": ["$identity"]
  }]
}
POLICY
XDG_CONFIG_HOME=$folder notation verify "$image" || exit 1
