# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034  # used by the files that are sourced beside this one
# Where things are, and what they are called and addressed. All addresses are of documentation ranges, so that nothing that leaves
# the cluster's namespaces by mistake could reach anybody.

CACHE=${VMLANE_CACHE:-/var/cache/vmlane}/kubernetes       # programs and images; outlives clusters and checkouts
PROGRAMS=$CACHE/bin
CLUSTER=${VMLANE_CLUSTER_DIR:-/var/lib/vmlane-cluster}     # this cluster; "down" removes it
OBJECTS=$VMLANE_ROOT/scripts/cluster.d/objects
PKI=$CLUSTER/pki
ADMIN_CONFIG=$CLUSTER/admin.conf
PLUGIN_DIR=/usr/lib/cni                                    # Debian's reference plugins

KUBERNETES_VERSION=1.20.2
PODS_IMAGE=images.example/busybox:1
PAUSE_IMAGE=images.example/pause:1

nodes=1                          # how many this cluster has
MAX_NODES=4                      # as many /26 as there are in the pods' network
CONTROL_IP=198.51.100.1
API_SERVER=https://$CONTROL_IP:6443
WIRE_PREFIX=24
WIRE6_PREFIX=64
PODS_NETWORK=203.0.113.0/24
PODS6_NETWORK=2001:db8:1::/48
SERVICES_NETWORK=192.0.2.0/24
SERVICES6_NETWORK=2001:db8:2::/112
API_SERVICE_IP=192.0.2.1

# Of node K, counted from 1.
node_name() { echo "node-$1"; }
node_ip() { echo "198.51.100.$((10 + $1))"; }
node_ip6() { echo "2001:db8::$((10 + $1))"; }
CONTROL_IP6=2001:db8::1
node_pods() { echo "203.0.113.$((64 * ($1 - 1)))/26"; }
node_pods6() { echo "2001:db8:1:$1::/64"; }
