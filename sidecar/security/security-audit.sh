#!/usr/bin/env bash
# Audits a machine that runs the sidecar, and the files of this repository that guard it.
#
#   security-audit.sh [--json] [--strict] [--config FILE] [--audit-log FILE] [--accept NUMBERS]
#
# --json       a summary as one JSON object on standard output
# --strict     a skipped check counts as not passed (exit code 3)
# --config     the configuration of the sidecar, for `secretbridge doctor`
# --audit-log  its audit log, for `secretbridge audit verify`
# --accept     checks of CIS Docker that are accepted, such as 4.5,5.2
#
# Every tool is optional; a missing one is told as skipped. Exit codes: 0 nothing found, 1 something found,
# 2 wrong usage, 3 nothing could be looked at, or with --strict something was skipped.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
json="" strict="" config="" log="" accept=""

usage() {
  sed -n '4,4s/^# *//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}

while (($#)); do
  case $1 in
    --json) json=1 ;;
    --strict) strict=1 ;;
    --config | --audit-log | --accept)
      (($# > 1)) || usage
      case $1 in
        --config) config=$2 ;;
        --audit-log) log=$2 ;;
        *) accept=$2 ;;
      esac
      shift
      ;;
    *) usage ;;
  esac
  shift
done
[[ $accept =~ ^([0-9]+\.[0-9]+(,[0-9]+\.[0-9]+)*)?$ ]] || usage

# shellcheck source-path=SCRIPTDIR source=scanning.sh
source "$here/scanning.sh"

doctor=(secretbridge doctor --offline --json)
[[ -z $config ]] || doctor+=(--config "$config")
check "secretbridge doctor" secretbridge "${doctor[@]}"
if [[ -n $log ]]; then
  check "audit log" secretbridge secretbridge audit verify "$log"
else
  skip "audit log" "no audit log was named (--audit-log)"
fi

# The script of Docker ends with 0 whatever it finds, so its own count of warnings decides.
# shellcheck disable=SC2317  # called by check
docker_bench() {
  local folder said excluded=""
  folder=$(mktemp -d) || return
  # It calls the check 4.5 check_4_5.
  [[ -z $accept ]] || excluded=check_${accept//,/,check_}
  said=$(docker-bench-security -b -l "$folder/log" -c container_images,container_runtime \
    ${excluded:+-e "${excluded//./_}"} 2>&1)
  local code=$?
  rm -rf "$folder"
  printf '%s\n' "$said"
  ((code == 0)) && ! grep -q '^\[WARN\]' <<<"$said"
}
check "CIS Docker" docker-bench-security docker_bench

check "alert rules" promtool promtool check rules "$root/sidecar/prometheus/alerts.yml"
check "alert rules, by example" promtool promtool test rules "$root/sidecar/prometheus/alerts_test.yml"

# A resource of the Prometheus operator is no part of Kubernetes, and a patch of kustomize is no resource.
mapfile -t manifests < <(grep -rlE '^kind: (Deployment|Namespace|ServiceAccount|Role|NetworkPolicy|ConfigMap)$' \
  "$root/sidecar/kubernetes" --include='*.yaml' --exclude-dir=component | sort)
check "Kubernetes manifests" kubernetes-validate kubernetes-validate --strict "${manifests[@]}"

check "AppArmor profiles" apparmor_parser apparmor_parser -Q -K "$here"/apparmor/secretbridge-*

# shellcheck disable=SC2317  # called by check
selinux() {
  local folder
  folder=$(mktemp -d) || return
  checkmodule -M -m -o "$folder/secretbridge.mod" "$here/selinux/secretbridge.te" &&
    semodule_package -o "$folder/secretbridge.pp" -m "$folder/secretbridge.mod" \
      -f "$here/selinux/secretbridge.fc"
  local code=$?
  rm -rf "$folder"
  return "$code"
}
check "SELinux module" checkmodule selinux
check "nftables example" nft unshare --map-root-user --net -- nft --check --file "$here/nftables/secretbridge.nft"

mapfile -t scripts < <(find "$here" -name '*.sh' | sort)
check "shell scripts" shellcheck shellcheck -x "${scripts[@]}"
check "workflows" zizmor zizmor --offline --no-progress --quiet "$root/.github"
check "YAML" yamllint yamllint --strict --config-file "$here/yamllint.yaml" "$root/.github" "$here"
check "own rules for code" semgrep semgrep scan --config "$here/semgrep/secretbridge.yaml" --metrics off \
  --disable-version-check --error --quiet --exclude migrate_demo "$root/secretbridge" "$root/sidecar" "$root/examples"
finish
