#!/bin/sh
# Brings the pod up: the two volumes in memory, and then `podman play kube`, which gets further arguments.
# The volumes are not in pod.yaml because podman would give them to the user of whichever container mounts
# them first. Their size is in pages of 4 KiB, because "size" means a quota on a disk there.
set -eu
cd "$(dirname "$0")"
noswap=${SECRETBRIDGE_NOSWAP-,noswap}     # needs Linux 6.4; empty where there is no swap

volume() {
  podman volume exists "$1" ||
    podman volume create --opt type=tmpfs --opt device=tmpfs --opt "o=$2,noexec,nosuid,nodev" "$1"
}
volume secretbridge-files "nr_blocks=256,nr_inodes=4096,mode=2750,uid=1001,gid=20001$noswap"
volume secretbridge-admin "nr_blocks=16,mode=0700,uid=1001,gid=1001"
exec podman play kube "$@" "${SECRETBRIDGE_POD-pod.yaml}"
