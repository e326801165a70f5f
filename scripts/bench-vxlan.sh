#!/usr/bin/env bash
# By hand, in namespaces of its own: two hosts on a bridge with vxlan between them, pods behind a bridge in
# each, as flannel has them. Prints Gbit/s of one TCP stream between hosts, and within one.
# Arguments: the helper that sends and receives.
set -euo pipefail
mount -t tmpfs tmpfs /run
mkdir -p /run/netns
ip link add s0 type bridge
ip link set s0 up

# pod NAME HOST ADDRESS
pod() {
  ip netns add "$1"
  ip -n "$2" link add "v$1" mtu 1450 type veth peer name eth0 mtu 1450 netns "$1"
  ip -n "$2" link set "v$1" master cni0 up
  ip -n "$1" addr add "$3/16" dev eth0
  ip -n "$1" link set eth0 up
  ip -n "$1" route add default via "${3%.*}.1"
}

for host in 1 2; do
  ip netns add "h$host"
  ip link add "e$host" type veth peer name eth0 netns "h$host"
  ip link set "e$host" master s0 up
  ip -n "h$host" addr add "10.0.0.$host/8" dev eth0
  ip -n "h$host" link set eth0 up
  ip -n "h$host" link add cni0 type bridge
  ip -n "h$host" link set cni0 mtu 1450
  ip -n "h$host" addr add "11.$host.0.1/16" dev cni0
  ip -n "h$host" link set cni0 up
  ip -n "h$host" link add vx type vxlan id 100 dstport 8472 local "10.0.0.$host" dev eth0 nolearning
  ip -n "h$host" link set vx mtu 1450 address "02:00:00:00:00:0$host" up
  ip -n "h$host" addr add "11.$host.0.0/32" dev vx
  ip netns exec "h$host" sysctl -qw net.ipv4.ip_forward=1
  pod "p$host" "h$host" "11.$host.0.2"
done
for host in 1 2; do
  other=$((3 - host))
  ip -n "h$host" neigh add "11.$other.0.0" dev vx lladdr "02:00:00:00:00:0$other" nud permanent
  bridge -n "h$host" fdb add "02:00:00:00:00:0$other" dev vx dst "10.0.0.$other"
  ip -n "h$host" route add "11.$other.0.0/16" via "11.$other.0.0" dev vx onlink
done
pod p3 h1 11.1.0.3

# stream FROM TO ADDRESS
stream() {
  local server
  ip netns exec "$2" "${helper[@]}" serve 5201 >/run/stream &
  server=$!
  until grep -q listening /run/stream 2>/dev/null; do sleep 0.02; done
  ip netns exec "$1" "${helper[@]}" send "$3" 5201 2
  wait "$server"
  tail -n 1 /run/stream
}

helper=("$@")
ip netns exec p1 ping -q -c 1 -W 2 11.2.0.2 >/run/ping
ip netns exec p1 ping -q -c 1 -W 2 11.1.0.3 >/run/ping
echo "$(stream p1 p2 11.2.0.2) $(stream p1 p3 11.1.0.3)"
