#!/usr/bin/env bash
# Signs an image with a key that notation knows (notation key list).
#
#   notation-sign.sh --key NAME IMAGE@sha256:DIGEST
#
# Exit codes: 0 signed, 1 not signed, 2 wrong usage, 3 notation is not installed.
set -euo pipefail

usage() {
  sed -n '4,4s/^# *//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}
if (($# != 3)) || [[ $1 != --key ]]; then usage; fi
[[ $3 =~ @sha256:[0-9a-f]{64}$ ]] || {
  echo "${0##*/}: name the image by its digest, IMAGE@sha256:...: a tag can be moved" >&2
  exit 2
}
command -v notation >/dev/null || { echo "${0##*/}: notation is not installed" >&2; exit 3; }
notation sign --signature-format cose --key "$2" "$3" || exit 1
