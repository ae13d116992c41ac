#!/usr/bin/env bash
# Scans what the image is built from, and the image itself if one is named.
#
#   scan_image.sh [--json] [--strict] [--sbom FILE] [--key FILE] [IMAGE]
#
# --json     a summary as one JSON object on standard output
# --strict   a skipped check counts as not passed (exit code 3)
# --sbom     write the bill of materials (CycloneDX) of the locked requirements there
# --key      the public key that IMAGE has to be signed with (cosign)
#
# Every tool is optional; a missing one is told as skipped. Exit codes: 0 nothing found, 1 something found,
# 2 wrong usage, 3 nothing could be looked at, or with --strict something was skipped.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
json="" strict="" sbom="" key="" image=""

usage() {
  sed -n '4,4s/^# *//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}

while (($#)); do
  case $1 in
    --json) json=1 ;;
    --strict) strict=1 ;;
    --sbom | --key)
      (($# > 1)) || usage
      [[ $1 == --sbom ]] && sbom=$2 || key=$2
      shift
      ;;
    -*) usage ;;
    *)
      [[ -z $image ]] || usage
      image=$1
      ;;
  esac
  shift
done

# shellcheck source-path=SCRIPTDIR source=scanning.sh
source "$here/scanning.sh"

mapfile -t dockerfiles < <(find "$root/sidecar" "$root/examples" -name 'Dockerfile*' -not -path '*/migrate_demo/*')
check "Dockerfiles" hadolint hadolint --config "$here/hadolint.yaml" "${dockerfiles[@]}"
check "configuration" checkov checkov --quiet --compact --config-file "$here/checkov.yaml" \
  --directory "$root/sidecar"
check "secrets in the tree" gitleaks gitleaks dir "$root" --config "$here/gitleaks.toml" \
  --no-banner --redact
check "bill of materials" cyclonedx-py cyclonedx-py requirements "$root/requirements/sidecar.txt" \
  --output-file "${sbom:-/dev/null}"

if [[ -z $image ]]; then
  for name in "signature" "vulnerabilities" "vulnerabilities, again"; do
    skip "$name" "no image was named"
  done
else
  if [[ -z $key ]]; then
    skip "signature" "no public key was named (--key)"
  else
    check "signature" cosign "$here/cosign-verify.sh" --key "$key" "$image"
  fi
  check "vulnerabilities" trivy trivy image --exit-code 1 --severity HIGH,CRITICAL --ignore-unfixed \
    --quiet "$image"
  check "vulnerabilities, again" grype grype --fail-on high --only-fixed --quiet "$image"
fi
finish
