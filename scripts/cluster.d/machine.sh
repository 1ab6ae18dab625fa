# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The machines of a cluster. One is a process with namespaces of its own for mounts, network, processes, host name, IPC and cgroups,
# started by machine-init, and a directory:
#   machines/NAME/disk/    /etc, /opt and /var of the machine: what survives its reboot. disk/etc/machine/ says what it runs
#   machines/NAME/pid      the machine's process 1, and when that was started
#   machines/NAME/cgroups  its cgroups, one a line
# Its root is a tmpfs that nobody outside sees, with the real machine's /usr in it, read-only. With process 1 everything goes.

# The hierarchies that kubelet, containerd and runc use of version 1. The last one has no controller; where the machine has it, containerd
# wants to find each container there.
CGROUP_CONTROLLERS=(cpu cpuacct cpuset memory devices freezer blkio pids)
! grep -q ':name=systemd:' /proc/self/cgroup || CGROUP_CONTROLLERS+=(name=systemd)
BOOT_SECONDS=60

machine_dir() { echo "$CLUSTER/machines/$1"; }
machine_names() {
  local dir
  for dir in "$CLUSTER"/machines/*/; do
    [[ ! -d $dir ]] || basename "$dir"
  done
}
# A process id alone could be another process by now.
start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
# machine_pid NAME: prints its process 1; fails when it does not run.
machine_pid() {
  local pid started
  read -r pid started 2>/dev/null <"$(machine_dir "$1")/pid" || return
  [[ -n $started && $(start_time "$pid") == "$started" ]] && echo "$pid"
}

# make_machine NAME: the disk of a new machine, with the users, libraries and alternatives that the programs in /usr look for.
make_machine() {
  local disk file
  disk=$(machine_dir "$1")/disk
  mkdir -p "$disk"/etc/machine/services "$disk"/opt/{cni/bin,vmlane/bin} "$disk"/var/{log,lib,cache,tmp}
  ln -sfn /run "$disk/var/run"
  for file in alternatives group ld.so.cache ld.so.conf ld.so.conf.d login.defs nsswitch.conf passwd protocols services xtables.conf; do
    [[ ! -e /etc/$file ]] || cp -a "/etc/$file" "$disk/etc/"
  done
  echo "$1" >"$disk/etc/hostname"
  printf '127.0.0.1 localhost\n::1 localhost\n' >"$disk/etc/hosts"
  : >"$disk/etc/resolv.conf"
  cat /proc/sys/kernel/random/uuid | tr -d - >"$disk/etc/machine-id"
}

# machine_script NAME PATH: a script of the machine from standard input, below disk/etc/machine.
machine_script() {
  local file
  file=$(machine_dir "$1")/disk/etc/machine/$2
  { printf '#!/bin/bash\n' && cat; } >"$file" && chmod 755 "$file"
}

# The directory of a controller's hierarchy that belongs to this process, which may itself be held to limits by cgroups.
cgroup_parent() {
  local path mount
  path=$(awk -F: -v controller="$1" '$2 == controller { print $3 }' /proc/self/cgroup)
  mount=$(awk -v controller="$1" '$0 ~ (" - cgroup [^ ]+ ([^ ]*,)?" controller "$") && $4 == "/" { print $5; exit }' /proc/self/mountinfo)
  [[ -n $path && -n $mount ]] && echo "${mount}${path%/}"
}

check_cgroups() {
  local controller
  for controller in "${CGROUP_CONTROLLERS[@]}"; do
    cgroup_parent "$controller" >/dev/null ||
      die "no cgroup version 1 hierarchy of controller \"$controller\" by itself is mounted: Kubernetes $KUBERNETES_VERSION is run here on version 1 only. Boot with systemd.unified_cgroup_hierarchy=0"
  done
}

# make_cgroups NAME: one in each hierarchy, whose paths are written down first, so that "down" finds them.
make_cgroups() {
  local name=$1 controller parent group file
  file=$(machine_dir "$name")/cgroups
  for controller in "${CGROUP_CONTROLLERS[@]}"; do
    parent=$(cgroup_parent "$controller")
    group=$parent/vmlane-$(printf '%s' "$CLUSTER" | sha256sum | head -c 8)-$name
    echo "$group" >>"$file"
    mkdir -p "$group"
    # A new cpuset has neither processors nor memory, and can take no process.
    [[ $controller != cpuset ]] || {
      cat "$parent/cpuset.cpus" >"$group/cpuset.cpus"
      cat "$parent/cpuset.mems" >"$group/cpuset.mems"
    }
  done
}

# remove_cgroups NAME: with all that containers left in them, and whatever process is still there, as after an "up" that was cut. The
# kernel needs a moment for processes that have just ended.
remove_cgroups() {
  local file group try left
  file=$(machine_dir "$1")/cgroups
  [[ -e $file ]] || return 0
  sort -u "$file" | while read -r group; do
    for try in {1..100}; do
      [[ -d $group ]] || break
      mapfile -t left < <(find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null)
      ((${#left[@]} == 0)) || kill -KILL "${left[@]}" 2>/dev/null || true
      find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
      [[ ! -d $group ]] || sleep 0.1
    done
    [[ ! -d $group ]] || warn "cgroup $group could not be removed, its processes: $(cat "$group/cgroup.procs" | xargs)"
  done
  rm -f "$file"
}

# start_machine NAME: boots it. The cgroups are joined before there is a cgroup namespace, whose root they become.
start_machine() {
  local name=$1 dir unshare_pid pid='' try
  dir=$(machine_dir "$name")
  ! machine_pid "$name" >/dev/null || return 0
  make_cgroups "$name"
  rm -f "$dir/pid" "$dir/booted"
  mkdir -p "$dir/root"
  (
    while read -r group; do echo "$BASHPID" >"$group/cgroup.procs"; done < <(sort -u "$dir/cgroups")
    # No descriptor of the caller's may stay open in a machine: a pipe that somebody reads to its end would not have one.
    for descriptor in /proc/self/fd/*; do
      descriptor=${descriptor##*/}
      ((descriptor < 3 || descriptor == 255)) || eval "exec $descriptor>&-"
    done
    exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
      setsid unshare --mount --propagation private --net --pid --uts --ipc --cgroup --fork \
      bash "$VMLANE_ROOT/scripts/cluster.d/machine-init" "$name" "$dir" "$PROGRAMS" "${CGROUP_CONTROLLERS[*]}" \
      </dev/null >"$dir/boot.log" 2>&1
  ) &
  unshare_pid=$!
  disown "$unshare_pid"
  for ((try = 0; try < BOOT_SECONDS * 20; ++try)); do
    [[ -n $pid ]] || pid=$(first_child "$unshare_pid")
    [[ -z $pid || -s $dir/pid ]] || echo "$pid $(start_time "$pid")" >"$dir/pid"
    [[ ! -s $dir/booted ]] || return 0
    [[ -d /proc/$unshare_pid ]] || break
    sleep 0.05
  done
  sed 's/^/    | /' "$dir/boot.log" >&2
  die "machine $name did not boot"
}

# The child of PID that has a process namespace of its own, which is how unshare's child is told from a helper of the shell.
first_child() {
  local child namespace
  for child in $(ps -o pid= --ppid "$1"); do
    namespace=$(readlink "/proc/$child/ns/pid") || continue  # it has ended
    [[ $namespace == "$(readlink /proc/self/ns/pid)" ]] || echo "$child"
  done
}

# in_machine NAME COMMAND...: runs a command there.
in_machine() {
  local name=$1 pid
  shift
  pid=$(machine_pid "$name") || die "machine \"$name\" does not run; there are: $(machine_names | xargs)"
  nsenter --target "$pid" --all --root --wd env -i TERM="${TERM:-dumb}" HOME=/root LC_ALL=C.UTF-8 PATH=/opt/vmlane/bin:/opt/kubernetes/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# in_network NAME COMMAND...: runs a command of this machine, with its files, in the network of the other.
in_network() {
  local pid
  pid=$(machine_pid "$1") || die "machine \"$1\" does not run: scripts/cluster up"
  shift
  nsenter --target "$pid" --net "$@"
}

# plug NAME LINK BRIDGE PORT: a cable from the machine's LINK to a bridge of the control machine.
plug() {
  local pid
  pid=$(machine_pid "$1")
  in_network control ip link add name "$4" type veth peer name "$2" netns "$pid"
  in_network control ip link set "$4" master "$3" up
}

# stop_machine NAME: as if its power were cut. Its process 1 takes every process, mount and link along.
stop_machine() {
  local name=$1 pid try
  if pid=$(machine_pid "$name"); then
    kill -KILL "$pid"
    for try in {1..600}; do
      [[ -d /proc/$pid ]] || break
      sleep 0.05
    done
    [[ ! -d /proc/$pid ]] || die "process $pid, the first of machine $name, does not end"
  fi
  rm -f "$(machine_dir "$name")/pid"
  remove_cgroups "$name"
}
