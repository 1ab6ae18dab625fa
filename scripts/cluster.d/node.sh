# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A node: containerd, kubelet and kube-proxy, and vmlane as an administrator would put it there, its plugins in /opt/cni/bin, its node
# configuration, its agent on the API server. vmlane-multus is the node's CNI, and vmlane-veth its pods' network.

VMLANE_BUILD=$VMLANE_ROOT/build/release/bin
VMLANE_PLUGINS=(vmlane-veth vmlane-tap vmlane-macvtap vmlane-vhostuser vmlane-multus)
VMLANE_PROGRAMS=(vmlane-agent vmlanectl)
REFERENCE_PLUGINS=(host-local static loopback)

check_vmlane() {
  local program
  for program in "${VMLANE_PLUGINS[@]}" "${VMLANE_PROGRAMS[@]}"; do
    [[ -x $VMLANE_BUILD/$program ]] ||
      die "$VMLANE_BUILD/$program is not built: cmake --preset release && cmake --build --preset release"
  done
  for program in "${REFERENCE_PLUGINS[@]}"; do
    [[ -x $PLUGIN_DIR/$program ]] || die "$PLUGIN_DIR/$program is missing: run scripts/setup"
  done
}

make_node() {
  local number=$1 name disk
  name=$(node_name "$number")
  disk=$(machine_dir "$name")/disk
  make_machine "$name"
  make_certificate "$name" "system:node:$name" system:nodes "IP:$(node_ip "$number"),DNS:$name"
  make_certificate "$name-proxy" system:kube-proxy ''
  make_certificate "$name-agent" "vmlane-agent:$name" vmlane:agents
  install -d -m 700 "$disk/etc/kubernetes"
  cp "$PKI/ca.crt" "$disk/etc/kubernetes/"
  cp "$PKI/$name.crt" "$disk/etc/kubernetes/kubelet.crt"
  cp "$PKI/$name.key" "$disk/etc/kubernetes/kubelet.key"
  write_kubeconfig "$name" "$disk/etc/kubernetes/kubelet.conf"
  write_kubeconfig "$name-proxy" "$disk/etc/kubernetes/proxy.conf"
  write_kubeconfig "$name-agent" "$disk/etc/kubernetes/vmlane-agent.conf"
  node_boot "$number"
  node_runtime "$name"
  node_kubelet "$number"
  node_proxy "$number"
  node_vmlane "$number"
}

# The cables are plugged in when the machine runs.
node_boot() {
  machine_script "$(node_name "$1")" boot <<TEXT
set -e
until ip link show dev eth1 >/dev/null 2>&1; do sleep 0.1; done
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
ip address add $(node_ip "$1")/$WIRE_PREFIX dev eth0
ip address add $(node_ip6 "$1")/$WIRE6_PREFIX dev eth0 nodad
ip link set eth0 up
ip link set eth1 up
ip route add default via $CONTROL_IP
ip -6 route add default via $CONTROL_IP6
$(node_routes "$1")
TEXT
}

node_runtime() {
  local disk
  disk=$(machine_dir "$1")/disk
  mkdir -p "$disk/etc/containerd" "$disk/opt/images"
  cp "$CACHE"/images/*.tar "$disk/opt/images/"
  # Without CAP_SYS_RESOURCE nobody may be made less likely to be killed than he is, and runc dies of the attempt.
  cat >"$disk/etc/containerd/config.toml" <<TEXT
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "$PAUSE_IMAGE"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
TEXT
  machine_script "$1" services/containerd <<'TEXT'
exec containerd --config /etc/containerd/config.toml
TEXT
}

node_kubelet() {
  local name disk
  name=$(node_name "$1")
  disk=$(machine_dir "$name")/disk
  mkdir -p "$disk/var/lib/kubelet"
  # Node allocation is not enforced and swap does not matter: several nodes share one machine, whose size each takes for its own.
  cat >"$disk/etc/kubernetes/kubelet.yaml" <<TEXT
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: /etc/kubernetes/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: /etc/kubernetes/kubelet.crt
tlsPrivateKeyFile: /etc/kubernetes/kubelet.key
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
resolvConf: ""
featureGates: {IPv6DualStack: true}
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 2s
syncFrequency: 10s
TEXT
  machine_script "$name" services/kubelet <<TEXT
until ctr --namespace k8s.io version >/dev/null 2>&1; do sleep 0.2; done
for image in /opt/images/*.tar; do ctr --namespace k8s.io images import "\$image" || exit; done
exec kubelet --config=/etc/kubernetes/kubelet.yaml --kubeconfig=/etc/kubernetes/kubelet.conf --hostname-override=$name \\
  --node-ip=$(node_ip "$1") --container-runtime=remote --container-runtime-endpoint=unix:///run/containerd/containerd.sock
TEXT
}

node_proxy() {
  local name disk
  name=$(node_name "$1")
  disk=$(machine_dir "$name")/disk
  # Connection tracking is sized by the whole kernel's settings, which are not a node's to change.
  cat >"$disk/etc/kubernetes/proxy.yaml" <<TEXT
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: /etc/kubernetes/proxy.conf}
hostnameOverride: $name
mode: iptables
clusterCIDR: "$PODS_NETWORK,$PODS6_NETWORK"
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
featureGates: {IPv6DualStack: true}
TEXT
  machine_script "$name" services/kube-proxy <<'TEXT'
exec kube-proxy --config=/etc/kubernetes/proxy.yaml
TEXT
}

# The agent takes a moment to know a new pod, which an ADD waits for; without an agent ADDs fail and the runtime tries again.
node_vmlane() {
  local name disk program
  name=$(node_name "$1")
  disk=$(machine_dir "$name")/disk
  for program in "${VMLANE_PLUGINS[@]}"; do cp "$VMLANE_BUILD/$program" "$disk/opt/cni/bin/"; done
  for program in "${VMLANE_PROGRAMS[@]}"; do cp "$VMLANE_BUILD/$program" "$disk/opt/vmlane/bin/"; done
  for program in "${REFERENCE_PLUGINS[@]}"; do cp "$PLUGIN_DIR/$program" "$disk/opt/cni/bin/"; done
  mkdir -p "$disk/etc/cni/net.d/vmlane.d/networks"
  echo '{"logLevel": "debug"}' >"$disk/etc/cni/net.d/vmlane.d/node.json"
  cat >"$disk/etc/cni/net.d/10-vmlane.conflist" <<'TEXT'
{
  "cniVersion": "1.0.0",
  "name": "vmlane",
  "plugins": [
    {"type": "vmlane-multus", "clusterNetwork": "pods", "confDir": "/etc/cni/net.d/vmlane.d/networks"}
  ]
}
TEXT
  cat >"$disk/etc/cni/net.d/vmlane.d/networks/pods.conf" <<TEXT
{
  "cniVersion": "1.0.0",
  "name": "pods",
  "type": "vmlane-veth",
  "bridge": "cni0",
  "isDefaultGateway": true,
  "ipam": {
    "type": "host-local",
    "ranges": [[{"subnet": "$(node_pods "$1")"}], [{"subnet": "$(node_pods6 "$1")"}]]
  }
}
TEXT
  machine_script "$name" services/vmlane-agent <<TEXT
exec vmlane-agent --kubeconfig /etc/kubernetes/vmlane-agent.conf --node $name
TEXT
}

start_node() {
  local name
  name=$(node_name "$1")
  start_machine "$name"
  plug "$name" eth0 wire "$name"
  plug "$name" eth1 lan "$name-lan"
}

# Whether the API server has heard from the node that it is ready, in this boot: of one that lost its power it believes so for a while.
node_is_ready() {
  local boot_id
  boot_id=$(in_machine "$1" cat /proc/sys/kernel/random/boot_id)
  kubectl get node "$1" -o json |
    jq -e --arg boot "$boot_id" '.status | .nodeInfo.bootID == $boot and any(.conditions[]; .type == "Ready" and .status == "True")'
}

# Ready, and its agent at work.
wait_for_node() {
  local name
  name=$(node_name "$1")
  wait_for 180 "$name ready" node_is_ready "$name"
  wait_for 60 "the agent of $name" in_machine "$name" vmlanectl agent status
}
