# shellcheck shell=bash
# What scan_image.sh and security-audit.sh have in common: running tools that may or may not be there, and
# telling what came of it. A tool that is missing is told as skipped, never as passed.
#
#   check NAME TOOL COMMAND...     run COMMAND if TOOL is on the PATH; its exit code 0 is a pass
#   skip NAME REASON               tell why something could not be looked at
#   finish                         print the summary and end with the exit code

declare -a names=() states=() details=()
strict=${strict:-} json=${json:-}

note() {
  names+=("$1") states+=("$2") details+=("$3")
  printf '%-8s %-22s %s\n' "$2" "$1" "$3" >&2
}

skip() { note "$1" skipped "$2"; }

check() {
  local name=$1 tool=$2 said code=0
  shift 2
  if ! command -v "$tool" >/dev/null 2>&1; then
    skip "$name" "$tool is not installed"
    return
  fi
  said=$("$@" 2>&1) || code=$?
  if ((code == 0)); then
    note "$name" passed "$tool found nothing"
  else
    note "$name" failed "$tool ended with $code"
    printf '%s\n' "$said" | sed 's/^/         /' >&2
  fi
}

# Whatever stands in a text, as the inside of a JSON string; control characters become blanks.
quoted() {
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "${text//[[:cntrl:]]/ }"
}

count() {
  local state number=0
  for state in "${states[@]}"; do
    [[ $state == "$1" ]] && number=$((number + 1))
  done
  echo "$number"
}

# 0 nothing was found; 1 something was; 3 nothing was looked at, or with --strict something was skipped.
verdict() {
  if (($(count failed))); then
    echo 1
  elif ((!$(count passed))) || [[ -n $strict && $(count skipped) -gt 0 ]]; then
    echo 3
  else
    echo 0
  fi
}

finish() {
  local code index separator=""
  code=$(verdict)
  if [[ -n $json ]]; then
    printf '{"ok": %s, "passed": %d, "failed": %d, "skipped": %d, "checks": [' \
      "$([[ $code == 0 ]] && echo true || echo false)" \
      "$(count passed)" "$(count failed)" "$(count skipped)"
    for index in "${!names[@]}"; do
      printf '%s{"name": %s, "state": %s, "detail": %s}' "$separator" "$(quoted "${names[index]}")" \
        "$(quoted "${states[index]}")" "$(quoted "${details[index]}")"
      separator=", "
    done
    printf ']}\n'
  fi
  printf '%d passed, %d failed, %d skipped\n' \
    "$(count passed)" "$(count failed)" "$(count skipped)" >&2
  exit "$code"
}
