#!/usr/bin/env bash
# Signs an image with a key, and attaches its bill of materials as an attestation.
#
#   cosign-sign.sh --key FILE [--passphrase-file FILE] [--sbom FILE] IMAGE@sha256:DIGEST
#
# Without a file the passphrase of the key is asked for. It is never an argument, and in no environment.
# An image is signed by its digest, because a tag can be moved, also between looking and signing. A release
# is signed without a key by .github/workflows/release.yml; this script is for registries of your own.
# Nothing is sent to a public log.
#
# Exit codes: 0 signed, 1 not signed, 2 wrong usage, 3 cosign is not installed.
set -euo pipefail

key="" passphrase="" sbom="" image=""
usage() {
  sed -n '4,4s/^# *//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}
while (($#)); do
  case $1 in
    --key | --passphrase-file | --sbom)
      (($# > 1)) || usage
      case $1 in
        --key) key=$2 ;;
        --sbom) sbom=$2 ;;
        *) passphrase=$2 ;;
      esac
      shift
      ;;
    -*) usage ;;
    *) image=$1 ;;
  esac
  shift
done
[[ -n $key && -n $image ]] || usage
[[ $image =~ @sha256:[0-9a-f]{64}$ ]] || {
  echo "${0##*/}: name the image by its digest, IMAGE@sha256:...: a tag can be moved" >&2
  exit 2
}
command -v cosign >/dev/null || { echo "${0##*/}: cosign is not installed" >&2; exit 3; }

# cosign takes a passphrase from its terminal, or from a pipe and from nothing else.
with_passphrase() {
  if [[ -n $passphrase ]]; then
    "$@" < <(cat "$passphrase")
  else
    "$@"
  fi
}

offline=(--tlog-upload=false)
# Version 3 takes its services from a configuration, which has to be switched off as well.
if cosign sign --help 2>&1 | grep -q -- --use-signing-config; then
  offline+=(--use-signing-config=false)
fi
with_passphrase cosign sign --yes --key "$key" "${offline[@]}" "$image" || exit 1
if [[ -n $sbom ]]; then
  with_passphrase cosign attest --yes --key "$key" "${offline[@]}" --type cyclonedx --predicate "$sbom" "$image" || exit 1
fi
