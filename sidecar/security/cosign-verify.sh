#!/usr/bin/env bash
# Verifies the signature of an image: with a public key, or that of a release by who signed it.
#
#   cosign-verify.sh [--key FILE | --repository OWNER/NAME] IMAGE
#
# --key         a public key; no network but the registry is needed
# --repository  the repository whose release workflow has to have signed the image (keyless)
#
# Exit codes: 0 verified, 1 not verified, 2 wrong usage, 3 cosign is not installed.
set -euo pipefail

key="" repository="" image=""
usage() {
  sed -n '4,4s/^# *//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}
while (($#)); do
  case $1 in
    --key | --repository)
      (($# > 1)) || usage
      [[ $1 == --key ]] && key=$2 || repository=$2
      shift
      ;;
    -*) usage ;;
    *) image=$1 ;;
  esac
  shift
done
[[ -n $image && (-n $key || -n $repository) && (-z $key || -z $repository) ]] || usage
command -v cosign >/dev/null || { echo "${0##*/}: cosign is not installed" >&2; exit 3; }

if [[ -n $key ]]; then
  cosign verify --key "$key" --insecure-ignore-tlog=true --output text "$image" >/dev/null || exit 1
else
  cosign verify --output text \
    --certificate-oidc-issuer https://token.actions.githubusercontent.com \
    --certificate-identity-regexp "^https://github\.com/${repository//./\\.}/\.github/workflows/release\.yml@refs/tags/v" \
    "$image" >/dev/null || exit 1
fi
echo "verified: $image"
