# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The programs of a cluster, made once: Kubernetes from Debian's source package, by the Go of Debian's backports, and etcd, containerd,
# runc and kubectl from Debian's packages. These are unpacked, not installed: a machine that runs containers of its own keeps its versions.

KUBERNETES_PROGRAMS=(kubelet kube-proxy kube-apiserver kube-controller-manager kube-scheduler)
DEBIAN_PROGRAMS=(usr/bin/{etcd,containerd,containerd-shim-runc-v2,ctr,kubectl} usr/sbin/{runc,conntrack})
DEBIAN_PACKAGES=(etcd-server containerd runc kubernetes-client conntrack)
GO_PACKAGES=(golang-1.23-go golang-1.23-src)
GO_SUITE=bookworm-backports
BUILD_TAGS='providerless dockerless'  # without clients of clouds and of Docker, a third of the work
DEFAULT_BUILD_SECONDS=1800  # on two processors with other work beside, when no earlier build here has said
KUBERNETES_SOURCE=$CACHE/source/kubernetes
IMPORT_PATH=k8s.io/kubernetes
PATCHES=$VMLANE_ROOT/scripts/cluster.d/patches

# What is compiled, and how: what was made of anything else is made anew.
kubernetes_recipe() { cat "$PATCHES"/*.patch - <<<"$KUBERNETES_VERSION $BUILD_TAGS" | sha256sum | cut -d' ' -f1; }

# Prints the programs that are not in the cache.
missing_programs() {
  local program recipe
  recipe=$(kubernetes_recipe)
  for program in "${KUBERNETES_PROGRAMS[@]}"; do
    [[ -x $PROGRAMS/$program && $(cat "$CACHE/recipe" 2>/dev/null) == "$recipe" ]] || echo "$program"
  done
  for program in "${DEBIAN_PROGRAMS[@]##*/}"; do
    [[ -x $PROGRAMS/$program ]] || echo "$program"
  done
}

# Makes what is missing. Two callers take turns; the second finds everything there.
ensure_programs() {
  local missing lock
  mapfile -t missing < <(missing_programs)
  ((${#missing[@]})) || return 0
  require_debian12
  mkdir -p "$PROGRAMS" "$CACHE/logs"
  # shellcheck disable=SC2034  # lib.sh's steps write there
  VMLANE_LOGS=$CACHE/logs
  exec {lock}>"$CACHE/lock"
  flock --nonblock "$lock" || { say "==> waiting for another build into $CACHE" && flock "$lock"; }
  mapfile -t missing < <(missing_programs)
  if ((${#missing[@]})); then
    say "==> not in $CACHE yet: ${missing[*]}"
    if contains_one_of DEBIAN missing; then
      program_step "etcd, containerd, runc and kubectl from Debian's packages" debian-programs install_debian_programs
    fi
    if contains_one_of KUBERNETES missing; then
      program_step "Debian's source package of Kubernetes $KUBERNETES_VERSION" kubernetes-source fetch_kubernetes_source
      program_step "Go, from $GO_SUITE" go fetch_go
      build_kubernetes
    fi
  fi
  exec {lock}>&-
  check_programs
}

# contains_one_of DEBIAN|KUBERNETES ARRAY: whether a program of that origin is in the array of that name.
contains_one_of() {
  local -n programs=$1_PROGRAMS array=$2
  local program
  for program in "${programs[@]##*/}"; do
    [[ " ${array[*]} " != *" $program "* ]] || return 0
  done
  return 1
}

# program_step TITLE LOG COMMAND...: as run_step; a failure is the end.
program_step() {
  run_step "$@" || {
    show_log "$2" 30
    die "step \"$1\" failed; run scripts/cluster again to go on where it ended"
  }
}

# The functions below run as steps: an error ends them by the "&&" of each line or by || return.

# unpack DIRECTORY PACKAGE...: downloads packages of apt's lists and unpacks them there. A package may have "/SUITE" behind its name.
unpack() {
  local directory=$1 package
  shift
  rm -rf "$CACHE/packages" && mkdir -p "$directory" "$CACHE/packages" || return
  (cd "$CACHE/packages" && apt-get -q download "$@") || {
    apt-get -q -o DPkg::Lock::Timeout=300 update
    (cd "$CACHE/packages" && apt-get -q download "$@") || return
  }
  for package in "$CACHE"/packages/*.deb; do
    dpkg-deb -x "$package" "$directory" || return
  done
  rm -rf "$CACHE/packages"
}

install_debian_programs() {
  local program
  unpack "$CACHE/debian" "${DEBIAN_PACKAGES[@]}" || return
  for program in "${DEBIAN_PROGRAMS[@]}"; do
    install -m 755 "$CACHE/debian/$program" "$PROGRAMS/" || return
  done
  rm -rf "$CACHE/debian"
}

# apt's view of source packages is private to the cache: the machine's own lists and sources stay as they are.
fetch_kubernetes_source() {
  local fields options patch
  [[ $(cat "$KUBERNETES_SOURCE/.recipe" 2>/dev/null) != "$(kubernetes_recipe)" ]] || return 0
  fields=$(apt_source bookworm)
  [[ -n $fields ]] || {
    echo 'no apt source for suite bookworm, component main, in /etc/apt; the source package is taken from the same mirror'
    return 1
  }
  rm -rf "$CACHE/apt" "$CACHE/source"
  mkdir -p "$CACHE"/apt/{sources,lists/partial,cache} "$CACHE/source" || return
  printf 'Types: deb-src\nSuites: bookworm\nComponents: main\n%s\n' "$fields" >"$CACHE/apt/sources/bookworm.sources"
  options=(-q -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$CACHE/apt/sources"
    -o "Dir::State::Lists=$CACHE/apt/lists" -o "Dir::Cache=$CACHE/apt/cache")
  apt-get "${options[@]}" update && cd "$CACHE/source" && apt-get "${options[@]}" source --download-only kubernetes || return
  dpkg-source --no-check -x kubernetes_*.dsc "$KUBERNETES_SOURCE" && rm -rf "$CACHE/apt" || return
  for patch in "$PATCHES"/*.patch; do patch -d "$KUBERNETES_SOURCE" -p 1 -i "$patch" || return; done
  # Its build in GOPATH mode wants to find itself below k8s.io.
  mkdir -p "$KUBERNETES_SOURCE/.go/src/k8s.io" && ln -sfn ../../.. "$KUBERNETES_SOURCE/.go/src/$IMPORT_PATH" &&
    kubernetes_recipe >"$KUBERNETES_SOURCE/.recipe"
}

fetch_go() {
  [[ ! -x $CACHE/go/usr/lib/go-1.23/bin/go ]] || return 0
  [[ -n $(apt_source "$GO_SUITE") ]] || {
    echo "no apt source for suite $GO_SUITE: run scripts/setup, which adds it"
    return 1
  }
  unpack "$CACHE/go" "${GO_PACKAGES[@]/%//$GO_SUITE}"
}

# in_kubernetes COMMAND...: in its source tree, with Go as that tree needs it and without any way to download modules. At the lowest
# priority: whoever builds this has time.
in_kubernetes() {
  mkdir -p "$CACHE/tmp"
  (cd "$KUBERNETES_SOURCE/.go/src/$IMPORT_PATH" &&
    exec nice -n 19 env GOROOT="$CACHE/go/usr/lib/go-1.23" GOPATH="$KUBERNETES_SOURCE/.go" GOCACHE="$CACHE/gocache" GOTMPDIR="$CACHE/tmp" \
      PATH="$CACHE/go/usr/lib/go-1.23/bin:$PATH" GO111MODULE=off GOTOOLCHAIN=local GOPROXY=off GOFLAGS= CGO_ENABLED=0 "$@")
}

# The linker settings that make a program tell its version, in both of the paths under which the tree has these packages.
version_flags() {
  local package variable
  for package in client-go/pkg/version component-base/version; do
    for variable in "gitVersion=v$KUBERNETES_VERSION" gitMajor=1 gitMinor=20 gitCommit=none gitTreeState=clean; do
      printf ' -X %s.%s' "k8s.io/$package" "$variable" "$IMPORT_PATH/vendor/k8s.io/$package" "$variable"
    done
  done
}

# The API server serves a description of its types, the only generated source that the package does not bring.
generate_api_description() {
  local packages
  [[ ! -e $KUBERNETES_SOURCE/pkg/generated/openapi/zz_generated.openapi.go ]] || return 0
  in_kubernetes go build -o "$CACHE/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen || return
  packages=$(cd "$KUBERNETES_SOURCE" && grep -rl --include='*.go' '+k8s:openapi-gen=' staging/src/k8s.io pkg cmd |
    grep -v -e code-generator/ -e sample-apiserver/ -e _test.go | sed -E "s#^staging/src/#vendor/#; s#/[^/]*\$##; s#^#$IMPORT_PATH/#" |
    sort -u | paste -sd,)
  in_kubernetes "$CACHE/openapi-gen" --input-dirs "$packages" --output-package "$IMPORT_PATH/pkg/generated/openapi" \
    --output-file-base zz_generated.openapi --report-filename "$CACHE/logs/openapi-violations" \
    --go-header-file vendor/k8s.io/code-generator/hack/boilerplate.go.txt
  rm -f "$CACHE/openapi-gen"
}

# Debug information would double the time of linking. With -v Go names each package that it has compiled, which is what progress is
# read from.
compile_kubernetes() {
  generate_api_description || return
  in_kubernetes go build -v -trimpath -p "$(nproc)" -tags "$BUILD_TAGS" -o "$CACHE/new/" -ldflags "-s -w$(version_flags)" "${KUBERNETES_PROGRAMS[@]/#/./cmd/}"
}

# One build of all programs, so that what they share is compiled once; a cut build goes on where it ended. Its log is kept on with, which
# is how progress knows what was there.
build_kubernetes() {
  local status=0 start=$SECONDS total expected before never
  kubernetes_log=$CACHE/logs/kubernetes.log
  [[ -e $CACHE/gocache ]] || rm -f "$kubernetes_log"
  # Packages with a slash in their name are those that take time.
  total=$(in_kubernetes go list -tags "$BUILD_TAGS" -deps "${KUBERNETES_PROGRAMS[@]/#/./cmd/}" 2>/dev/null | grep -c / || true)
  expected=$(cat "$CACHE/build-seconds" 2>/dev/null || echo "$DEFAULT_BUILD_SECONDS")
  before=$(compiled_packages)
  say "==> Kubernetes $KUBERNETES_VERSION from source, $((total - before)) packages, about $(clock $((expected * (total - before) / (total + 1)))) (log $kubernetes_log)"
  builder=  # not local: the trap needs it when the script ends here
  # In a process group of its own, so that all of it can be ended with this script: the shell has background jobs ignore an interrupt.
  set -m
  compile_kubernetes >>"$kubernetes_log" 2>&1 </dev/null &
  builder=$!
  set +m
  trap 'kill -TERM -- "-$builder" 2>/dev/null' EXIT
  exec {never}<> <(:)
  while kill -0 "$builder" 2>/dev/null; do
    read -r -t 20 -u "$never" || true  # a sleep that starts no process
    build_progress $((SECONDS - start)) "$total" "$before" "$expected"
  done
  exec {never}>&-
  wait "$builder" || status=$?
  trap - EXIT
  if ((status)); then
    tail -n 30 "$kubernetes_log" | sed 's/^/    | /'
    die "Kubernetes could not be built (log $kubernetes_log); run scripts/cluster again to go on where it ended"
  fi
  mv "$CACHE"/new/* "$PROGRAMS/"
  kubernetes_recipe >"$CACHE/recipe"
  ((before > 0)) || echo $((SECONDS - start)) >"$CACHE/build-seconds"
  rm -rf "$CACHE"/{new,source,gocache,go,tmp}
  say "    done in $(clock $((SECONDS - start)))"
}

# How many packages the builds so far have compiled; each is named in the log.
compiled_packages() { { grep -E '^[a-z0-9.-]+/[^ :]+$' "$kubernetes_log" 2>/dev/null || true; } | sort -u | wc -l; }

# build_progress SECONDS TOTAL BEFORE EXPECTED: a line with what is done and what is left of TOTAL packages, BEFORE of which an earlier
# build had compiled. Of the first packages nothing can be told, since those of the end take longer, and linking does.
build_progress() {
  local seconds=$1 total=$2 before=$3 expected=$4 compiled left
  compiled=$(compiled_packages)
  if ((compiled * 2 > total && compiled > before + 100)); then
    left=$((seconds * (total - compiled) / (compiled - before)))
  else
    left=$((expected * (total - before) / (total + 1) - seconds))
  fi
  ((left > 60)) || left=60
  say "    $(clock "$seconds")  $compiled of $total packages, about $(clock "$left") left"
}

# Everything has to start here: what Debian's packages would have pulled in is installed by scripts/setup.
check_programs() {
  local program flag problem
  for program in "${KUBERNETES_PROGRAMS[@]}" "${DEBIAN_PROGRAMS[@]##*/}"; do
    flag=--version
    [[ $program != kubectl ]] || flag='version --client'
    [[ $program != containerd-shim-runc-v2 ]] || flag=-v
    # shellcheck disable=SC2086  # two words
    problem=$("$PROGRAMS/$program" $flag 2>&1 >/dev/null) ||
      die "$PROGRAMS/$program does not start: ${problem:-no reason given}. Run scripts/setup, or delete the file to have it made again"
  done
}
