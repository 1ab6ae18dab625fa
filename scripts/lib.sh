# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the scripts of this folder share: messages, timing, a step runner that keeps a log per step, and the one thing they
# need to know about apt, which mirror this machine takes Debian from. Sourced, never run.

VMLANE_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VMLANE_LOGS=$VMLANE_ROOT/build/logs
# What one checkout has compiled another need not compile again.
export CCACHE_BASEDIR=$VMLANE_ROOT CCACHE_NOHASHDIR=1

say() { printf '%s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# Seconds as m:ss.
clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# run_step TITLE LOG COMMAND...: runs the command with its output in $VMLANE_LOGS/LOG.log and says when it starts, that it is
# still at work every 30 s, and how it ended. Returns the command's status and leaves its duration in STEP_SECONDS. stdin is empty.
run_step() {
  local title=$1 log=$VMLANE_LOGS/$2.log status=0 start=$SECONDS ticker
  shift 2
  mkdir -p "$VMLANE_LOGS"
  say "==> $title"
  step_ticker "$start" "$log" &
  ticker=$!
  "$@" >"$log" 2>&1 </dev/null || status=$?
  kill "$ticker" 2>/dev/null
  wait "$ticker" 2>/dev/null
  STEP_SECONDS=$((SECONDS - start))
  if ((status == 0)); then
    say "    done in $(clock "$STEP_SECONDS")"
  else
    say "    FAILED after $(clock "$STEP_SECONDS") (status $status, log ${log#"$VMLANE_ROOT"/})"
  fi
  return "$status"
}

# Waits with the shell's own timed read: a sleep process would outlive a killed ticker and hold the caller's stdout open.
step_ticker() {
  local start=$1 log=$2 never
  exec {never}<> <(:)
  while true; do
    read -r -t 30 -u "$never"
    say "    $(clock $((SECONDS - start)))  $(tail -n 1 "$log" | tail -c 100 | tr -d '\r')"
  done
}

# show_log LOG [LINES]: the end of a step's log, indented.
show_log() { tail -n "${2:-60}" "$VMLANE_LOGS/$1.log" | sed 's/^/    | /'; }

require_debian12() {
  local id='' version=''
  if [[ -r /etc/os-release ]]; then
    id=$(. /etc/os-release && echo "${ID:-}")
    version=$(. /etc/os-release && echo "${VERSION_ID:-}")
  fi
  [[ $id == debian && $version == 12 ]] ||
    die "this needs Debian 12 (bookworm); this machine is ${id:-unknown} ${version:-}. Nothing was changed."
}

# Prints every enabled binary apt source with component main as "SUITES|FIELDS", FIELDS being the stanza's URIs, Signed-By,
# Architectures and Trusted as a deb822 text whose lines are joined by \x1f. Reads both formats of sources.list(5).
apt_sources() {
  local file
  for file in /etc/apt/sources.list.d/*.sources; do
    [[ -r $file ]] && awk '
      function flush() {
        if (types ~ /(^| )deb( |$)/ && components ~ /(^| )main( |$)/ && enabled != "no" && uris !~ /^cdrom:/)
          print suites "|" kept
        types = suites = components = uris = enabled = kept = keeping = ""
      }
      /^#/ { next }
      /^[ \t]*$/ { flush(); next }
      /^[ \t]/ { if (keeping) kept = kept "\x1f" $0; next }
      {
        name = tolower($1); value = $0; sub(/^[^:]*:[ \t]*/, "", value)
        if (name == "types:") types = value
        if (name == "suites:") suites = value
        if (name == "components:") components = value
        if (name == "enabled:") enabled = tolower(value)
        if (name == "uris:") uris = value
        keeping = name ~ /^(uris|signed-by|architectures|trusted):$/
        if (keeping) kept = kept (kept == "" ? "" : "\x1f") $0
      }
      END { flush() }' "$file"
  done
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [[ -r $file ]] && awk '
      $1 == "deb" {
        options = ""
        if (match($0, /\[[^]]*\]/)) { options = substr($0, RSTART + 1, RLENGTH - 2); sub(/\[[^]]*\]/, "") }
        sub(/#.*/, "")
        if ($2 ~ /^cdrom:/ || $0 !~ /[ \t]main([ \t]|$)/) next
        kept = "URIs: " $2
        count = split(options, option, /[ \t]+/)
        for (i = 1; i <= count; i++) {
          value = option[i]; sub(/^[^=]*=/, "", value); gsub(/,/, " ", value)
          if (option[i] ~ /^signed-by=/) kept = kept "\x1fSigned-By: " value
          if (option[i] ~ /^arch=/) kept = kept "\x1fArchitectures: " value
          if (option[i] ~ /^trusted=/) kept = kept "\x1fTrusted: " value
        }
        print $3 "|" kept
      }' "$file"
  done
  return 0
}

# apt_source SUITE: the fields of the first source that has the suite, as deb822 lines; nothing when there is none.
apt_source() {
  apt_sources | awk -F'|' -v suite="$1" '
    (" " $1 " ") ~ ("[ \t]" suite "[ \t]") { sub(/^[^|]*\|/, ""); gsub("\x1f", "\n"); print; exit }'
}
