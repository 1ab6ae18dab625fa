# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The checks of sources, built plugins and docs that scripts/test runs beside the tests. Each prints what is wrong and
# returns non-zero. Sourced with the repository's root as working directory.

PLUGINS=(vmlane-veth vmlane-tap vmlane-macvtap vmlane-vhostuser vmlane-multus)  # static programs that run chrooted into foreign distributions
PLUGIN_MAX_BYTES=$((8 << 20))
TIDY_BASE=${VMLANE_TIDY_BASE:-}  # commit to compare with; default: where the branch left origin/main, else the last commit

# Prints each line of stdin under a title and fails when there was one.
none_of() {
  local lines
  lines=$(cat)
  [[ -z $lines ]] && return 0
  printf '%s\n%s\n' "$1" "$lines"
  return 1
}

cpp_files() { git ls-files '*.cpp' '*.h'; }
shell_files() { git grep -lIE '^#!.*\b(ba)?sh$' -- && git ls-files '*.sh'; }

check_spdx() {
  local file licence
  git ls-files '*.cpp' '*.h' '*.c' '*.cmake' '*.sh' '*.yaml' '*.yml' '*.dot' '*CMakeLists.txt' .clang-format .clang-tidy scripts .ci | sort -u |
    while read -r file; do
      licence=Apache-2.0
      [[ $file != ebpf/*.bpf.* && $file != ebpf/guest_answers.h && ! $file =~ ^policy/(connection|packet|stage|subject|verdict)\.h$ ]] || licence='GPL-2.0-only OR BSD-2-Clause'
      # The second line only below a "#!".
      awk 'NR == 1 || (NR == 2 && first ~ /^#!/) { print } { first = NR == 1 ? $0 : first }' "$file" |
        grep -q -F "SPDX-License-Identifier: $licence" || echo "$file: no \"SPDX-License-Identifier: $licence\" on its first line"
    done | none_of 'Files without their licence line:'
}

# The only hosts a file may name are reserved for documentation, or identify a licence or schema that nothing fetches.
check_hosts() {
  {
    git grep -nIoE '\bhttps?://[A-Za-z0-9.-]+' |
      grep -vE '://(www\.apache\.org|www\.w3\.org|127\.0\.0\.1|localhost|([a-z0-9-]+\.)*example(\.(com|org|net))?|[a-z0-9.-]+\.(test|invalid|local)|192\.0\.2\.[0-9]+|198\.51\.100\.[0-9]+|203\.0\.113\.[0-9]+)$'
    git grep -nIE '\bimage: *"?[a-z0-9-]+(\.[a-z0-9-]+)+/' -- '*.yaml' '*.yml' '*.md' '*.json' |
      grep -vE 'image: *"?([a-z0-9-]+\.)*example(\.(com|org|net))?/'
    true
  } | none_of 'Hosts that do not belong in this project:'
}

# Old kernels and clang's BPF target know no instruction for these; the compiler would emit a call the verifier refuses.
check_bpf_sources() {
  { git grep -nE '__builtin_(ctz|clz|ffs)(l|ll)?\b' -- ebpf policy/{connection,packet,stage,subject,verdict}.h || true; } | none_of 'Builtins the BPF target cannot compile:'
}

check_format() { cpp_files | xargs clang-format --dry-run --Werror; }

check_shell() { shell_files | sort -u | xargs shellcheck --severity=warning --external-sources; }

check_plugins() {
  local plugin path size
  for plugin in "${PLUGINS[@]}"; do
    path=build/release/bin/$plugin
    if [[ ! -x $path ]]; then
      echo "$path was not built"
      continue
    fi
    size=$(stat -c %s "$path")
    echo "$plugin: $size bytes" >&2
    ((size <= PLUGIN_MAX_BYTES)) || echo "$path has $size bytes, the limit is $PLUGIN_MAX_BYTES"
    ! LC_ALL=C readelf -lW "$path" | grep -q INTERP || echo "$path asks for a dynamic loader: it is not static"
    ! LC_ALL=C readelf -SW "$path" | grep -q -F .symtab || echo "$path is not stripped"
  done | none_of 'Plugins that could not run from a Multus pod:'
}

# check_tidy ALL: clang-tidy on every C++ file of the build, or, with an empty argument, on those changed since TIDY_BASE.
# A file costs about 10 s, more than its compilation, which is why a normal run does not take them all.
check_tidy() {
  local base=$TIDY_BASE files
  [[ -n $base ]] || base=$(git merge-base HEAD origin/main 2>/dev/null)
  [[ -n $base && $base != "$(git rev-parse HEAD)" ]] || base=HEAD~1
  if [[ -n $1 ]] || ! git rev-parse --quiet --verify "$base" >/dev/null; then
    mapfile -t files < <(git ls-files '*.cpp')
  else
    mapfile -t files < <(git diff --name-only --diff-filter=d "$base" -- '*.cpp')
  fi
  echo "clang-tidy on ${#files[@]} files"
  ((${#files[@]})) || return 0
  # One command a file, as no build has it: several are compiled as one. What is generated is there from the release build. The
  # fuzzers are in a build of their own.
  cmake --preset release -B build/tidy -DCMAKE_UNITY_BUILD=OFF >/dev/null || return 1
  [[ -e build/fuzz/compile_commands.json ]] || cmake --preset fuzz >/dev/null || return 1
  jq -s '.[0] + (.[1] | map(select(.file | contains("/tests/fuzz/"))))' build/{tidy,fuzz}/compile_commands.json |
    sed "s#$VMLANE_ROOT/build/tidy#$VMLANE_ROOT/build/release#g" >build/tidy/all.json
  mv build/tidy/all.json build/tidy/compile_commands.json
  printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -n 1 clang-tidy-16 --quiet -p build/tidy 2>&1 | sed '/ warnings\{0,1\} generated\.$/d'
}

# In a console block of the docs, "$ " starts a command. Scripts and example files it names must exist, and every vmlanectl
# and vmlane-perf command must answer --help. Every key of the node config must be described. JSON blocks must parse, relative links
# must lead somewhere.
check_docs() {
  {
    documented_commands | check_documented_commands
    check_links
    check_documented_keys
    check_json_blocks
  } | none_of 'The docs do not match the programs:'
}

documents() { git ls-files '*.md'; }

documented_commands() {
  documents | xargs awk '
    /^```/ { inside = /^```console/ }
    inside && /^\$ / { sub(/^\$ (sudo )?/, ""); print FILENAME ": " $0 }'
}

check_documented_commands() {
  local line program word words
  while read -r line; do
    read -r -a words <<<"${line#*: }"
    for word in "${words[@]}"; do
      [[ $word != ./scripts/* && $word != scripts/* && $word != examples/* && $word != .ci/* ]] || [[ -e $word ]] ||
        echo "$line: there is no $word"
    done
    program=${words[0]##*/}
    [[ $program == vmlanectl || $program == vmlane-perf ]] || continue
    words=("${words[@]:1}")
    set --
    for word in "${words[@]:0:2}"; do
      [[ $word =~ ^[a-z]+(-[a-z]+)*$ ]] || break
      set -- "$@" "$word"
    done
    "build/release/bin/$program" "$@" --help >/dev/null 2>&1 || echo "$line: \"$program $* --help\" fails"
  done
}

check_links() {
  local document target
  for document in $(documents); do
    grep -oP '\]\(\K[^)#:]+(?=[)#])' "$document" | while read -r target; do
      [[ -e $(dirname "$document")/$target ]] || echo "$document: link to $target, which does not exist"
    done
  done
}

check_documented_keys() {
  local key
  for key in $(grep -ohP '(read_path|read_number)\(reader, "\K\w+|reader\.(string|strings|integer|boolean)\("\K\w+' core/node_config.cpp | sort -u); do
    grep -q -F "\`$key\`" docs/node-config.md || echo "docs/node-config.md does not describe $key"
  done
}

check_json_blocks() {
  local document
  for document in $(documents); do
    awk '/^```/ { inside = /^```json/; next } inside' "$document" | jq empty 2>&1 | sed "s|^|$document: |"
  done
}
