# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The control machine: etcd, API server, controller manager and scheduler, and the two networks that nodes are plugged into, "wire" for
# the cluster's own traffic and "lan", without any address of ours, for secondary networks.

make_control() {
  local disk
  disk=$(machine_dir control)/disk
  make_machine control
  make_certificate kube-apiserver kube-apiserver '' "IP:$CONTROL_IP,IP:$API_SERVICE_IP,IP:127.0.0.1,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
  make_certificate kubelet-client kube-apiserver-kubelet-client system:masters
  make_certificate kube-controller-manager system:kube-controller-manager ''
  make_certificate kube-scheduler system:kube-scheduler ''
  make_certificate admin admin system:masters
  write_kubeconfig admin "$ADMIN_CONFIG"
  install -d -m 700 "$disk/etc/kubernetes"
  cp "$PKI"/{ca.crt,ca.key,service-accounts.key,service-accounts.pub,kube-apiserver.crt,kube-apiserver.key,kubelet-client.crt,kubelet-client.key} "$disk/etc/kubernetes/"
  write_kubeconfig kube-controller-manager "$disk/etc/kubernetes/controller-manager.conf"
  write_kubeconfig kube-scheduler "$disk/etc/kubernetes/scheduler.conf"
  machine_script control boot <<TEXT
set -e
for bridge in wire lan; do
  ip link add \$bridge type bridge
  # The bridges stand for switches: no firewall of this machine sees what they forward.
  echo 0 >/sys/class/net/\$bridge/bridge/nf_call_iptables
  echo 0 >/sys/class/net/\$bridge/bridge/nf_call_ip6tables
done
ip address add $CONTROL_IP/$WIRE_PREFIX dev wire
ip address add $CONTROL_IP6/$WIRE6_PREFIX dev wire nodad
ip link set wire up
ip link set lan up
$(node_routes 0)
TEXT
  # etcd need not outlive the real machine, so it need not wait for its disk.
  machine_script control services/etcd <<'TEXT'
exec etcd --data-dir /var/lib/etcd --unsafe-no-fsync --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380
TEXT
  machine_script control services/kube-apiserver <<TEXT
cd /etc/kubernetes
exec kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --secure-port=6443 --advertise-address=$CONTROL_IP \\
  --client-ca-file=ca.crt --tls-cert-file=kube-apiserver.crt --tls-private-key-file=kube-apiserver.key \\
  --kubelet-certificate-authority=ca.crt --kubelet-client-certificate=kubelet-client.crt --kubelet-client-key=kubelet-client.key \\
  --kubelet-preferred-address-types=InternalIP --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \\
  --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file=service-accounts.pub \\
  --service-account-signing-key-file=service-accounts.key \\
  --service-cluster-ip-range=$SERVICES_NETWORK,$SERVICES6_NETWORK --feature-gates=IPv6DualStack=true
TEXT
  machine_script control services/kube-controller-manager <<TEXT
cd /etc/kubernetes
exec kube-controller-manager --kubeconfig=controller-manager.conf --use-service-account-credentials=true --leader-elect=false \\
  --root-ca-file=ca.crt --service-account-private-key-file=service-accounts.key --cluster-signing-cert-file=ca.crt \\
  --cluster-signing-key-file=ca.key --allocate-node-cidrs=false --feature-gates=IPv6DualStack=true
TEXT
  machine_script control services/kube-scheduler <<TEXT
exec kube-scheduler --kubeconfig=/etc/kubernetes/scheduler.conf --leader-elect=false --feature-gates=IPv6DualStack=true
TEXT
}

# node_routes K: the routes to the pods of all nodes but node K, as commands.
node_routes() {
  local other
  # shellcheck disable=SC2154  # of names.sh
  for ((other = 1; other <= nodes; ++other)); do
    ((other != $1)) || continue
    echo "ip route replace $(node_pods "$other") via $(node_ip "$other")"
    echo "ip -6 route replace $(node_pods6 "$other") via $(node_ip6 "$other")"
  done
}

# Whatever way to the world the caller's environment names does not lead to this server.
kubectl() {
  in_network control env -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY \
    "$PROGRAMS/kubectl" --kubeconfig="$ADMIN_CONFIG" --cache-dir="$CLUSTER/kubectl-cache" "$@"
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds. Its last words are shown when it never does.
wait_for() {
  local seconds=$1 what=$2 end=$((SECONDS + $1)) output
  shift 2
  until output=$("$@" 2>&1); do
    ((SECONDS < end)) || {
      printf '%s\n' "$output" | tail -n 5 | sed 's/^/    | /' >&2
      die "$what: not within $seconds s. The logs are in $CLUSTER/machines/*/disk/var/log; scripts/cluster down ends what runs"
    }
    sleep 0.5
  done
}

# The kinds that vmlane reads, and what its agent may do; asked for until the server has its own roles in place.
apply_objects() {
  wait_for 120 'the objects of scripts/cluster.d/objects' kubectl apply -f "$OBJECTS/kinds.yaml" -f "$OBJECTS/agent-role.yaml"
  kubectl wait --for=condition=Established --timeout=60s crd --all >/dev/null
  wait_for 60 'the default network' kubectl apply -f "$OBJECTS/default-network.yaml"
}
