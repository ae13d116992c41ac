#!/usr/bin/env bash
# Gathers what is needed to tell later what happened: state, findings, audit log, versions. No value.
#
#   collect-evidence.sh --config FILE --out DIRECTORY [--audit-log FILE]
#
# DIRECTORY is made and must not be there yet. Each file in it is the output of one command; SUMMARY says
# how each of them ended, and SHA256SUMS has a digest of every file. What cannot be had is told in SUMMARY.
# Exit codes: 0 all was gathered, 1 something could not be, 2 wrong usage.
set -uo pipefail
umask 077

config="" out="" log=""

usage() {
  sed -n '4,4s/^# *//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}

while (($#)); do
  case $1 in
    --config | --out | --audit-log)
      (($# > 1)) || usage
      case $1 in
        --config) config=$2 ;;
        --out) out=$2 ;;
        *) log=$2 ;;
      esac
      shift
      ;;
    *) usage ;;
  esac
  shift
done
[[ -n $config && -n $out ]] || usage
[[ ! -e $out ]] || { echo "${0##*/}: $out is there already" >&2; exit 2; }
mkdir -p "$out" || exit 2

failed=0

# Findings are evidence, too: a command that ends with 1 has said something, and only others have failed.
gather() {
  local name=$1 code=0
  shift
  "$@" >"$out/$name" 2>"$out/$name.stderr" </dev/null || code=$?
  [[ -s $out/$name.stderr ]] || rm -f "$out/$name.stderr"
  printf '%-22s exit %d\n' "$name" "$code" >>"$out/SUMMARY"
  ((code <= 1)) || failed=1
}

# Names, owners, modes and times of what is published; sizes would tell how long values are.
# shellcheck disable=SC2317  # called by gather
listing() {
  local target
  target=$(sed -n 's/.*"target": "\([^"]*\)".*/\1/p' "$out/status.json" | head -n 1)
  [[ -d $target ]] || { echo "no target is known" >&2; return 3; }
  stat --file-system --format 'type=%T' "$target"
  find "$target" -printf '%M %U:%G %TY-%Tm-%TdT%TH:%TM:%TS %P -> %l\n' | sort -k 4
}

# shellcheck disable=SC2317  # called by gather
mounts() { grep -E ' (tmpfs|ramfs) ' /proc/self/mounts; }

printf 'collected %s\nhost %s\n' "$(date --utc +%Y-%m-%dT%H:%M:%SZ)" "$(uname -a)" >"$out/SUMMARY"
gather version.txt secretbridge --version
gather status.json secretbridge --config "$config" status --json
gather doctor.json secretbridge --config "$config" doctor --offline --json
gather target.txt listing
gather mounts.txt mounts
if [[ -n $log ]]; then
  gather audit-verify.json secretbridge audit verify --json "$log"
  # The log has no values: names and references stand in it as keyed hashes.
  gather audit.log cat "$log"
fi
gather processes.txt ps -eo pid,ppid,user,lstart,comm
(cd "$out" && find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum) >"$out/SHA256SUMS"
exit "$failed"
