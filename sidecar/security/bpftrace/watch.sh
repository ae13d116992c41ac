#!/usr/bin/env bash
# Watches a target and the sidecar that fills it, and prints a line for whoever else looks at them.
#
#   watch.sh TARGET SIDECAR_PID READER_UID
#
# It needs root in the first PID namespace, bpftrace 0.17 or newer, and a kernel with BTF. Ends on SIGINT
# or SIGTERM, or when either of its two probes ends.
set -euo pipefail

if (($# != 3)) || [[ ! -d $1 || ! $2 =~ ^[0-9]+$ || ! $3 =~ ^[0-9]+$ ]]; then
  echo "usage: ${0##*/} TARGET SIDECAR_PID READER_UID" >&2
  exit 2
fi
command -v bpftrace >/dev/null || { echo "${0##*/}: bpftrace is not installed" >&2; exit 3; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$1 pid=$2 reader=$3
# The kernel's own form of a device number; stat prints another one.
device=$((($(stat -c %Hd "$target") << 20) | $(stat -c %Ld "$target")))
owner=$(stat -c %u "$target")

if [[ ! -e /sys/kernel/tracing/events ]]; then
  mount -t tracefs tracefs /sys/kernel/tracing
fi
ulimit -l unlimited 2>/dev/null || true
# Long enough for /proc/PID/environ, and for names of files.
export BPFTRACE_STRLEN=64

bpftrace "$here/watch-target.bt" "$device" "$owner" "$reader" &
bpftrace "$here/watch-process.bt" "$pid" "/proc/$pid/environ" "/proc/$pid/mem" "/proc/$pid/maps" &
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
trap 'exit 0' INT TERM
wait -n
