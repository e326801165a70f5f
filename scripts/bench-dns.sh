# shellcheck shell=bash
# The scenario of names; sourced by scripts/bench, whose variables and functions these use.
: "${root:?}" "${work:?}" "${runs:?}" "${topo:?}"

# servers: the processes of the DNS servers, those that descend from this lab's first process.
servers() {
  local first pid above
  first=$("$topo" status -o json | sed -n 's/.*"pid": \([0-9]*\).*/\1/p' | head -1)
  for pid in $(pgrep -f 'dns serve --etcd'); do
    above=$pid
    while ((above > 1 && above != first)); do above=$(awk '/^PPid/ { print $2 }' "/proc/$above/status"); done
    ((above != first)) || echo "$pid"
  done
}
# used: nanoseconds of the processor that the servers have had.
used() {
  local pid
  for pid in $dns_pids; do cut -d ' ' -f 1 "/proc/$pid/schedstat"; done | awk '{ sum += $1 } END { printf "%.0f\n", sum }'
}

# p99 ADDRESS: 25,000 queries a second to it for 3 s; milliseconds within which 99 % of the answers came. dnsperf's own
# socket must hold the answers to all that it sends at once in the beginning, or it loses them.
p99() {
  "$topo" exec C0/c1 -- dnsperf -s "$1" -b 4096 -l 3 -q 1000 -Q 25000 -v <"$work/queries" >"$work/dnsperf"
  awk '/^> / { print $NF * 1e3 }' "$work/dnsperf" | sort -g | awk '{ all[NR] = $1 } END { print all[int(NR * 0.99)] }'
}
# echo_server: packets come back with the bit that makes them answers; nothing could be asked that costs less.
echo_server='
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
s.bind(("", 53))
b = bytearray(4096)
while True:
    n, peer = s.recvfrom_into(b)
    b[2] |= 0x80
    s.sendto(memoryview(b)[:n], peer)'

scenario_dns() {
  command -v dnsperf >/dev/null || {
    echo "scripts/bench: dnsperf is missing (apt-get install dnsperf); \`cargo bench -p dns --bench load\` needs none" >&2
    return 2
  }
  local count=${SERVICES:-1000} n dns_pids before after said answered echo
  "$topo" up --quiet -f "$root/conf/one-cluster.yaml"
  "$topo" pod create C0w1 c1 >"$work/out"
  # On another worker than who asks, as is at least one of the two servers.
  "$topo" pod create C0w2 echo -- python3 -c "$echo_server" >"$work/out"
  echo=$("$topo" get pod echo -o jsonpath='{.status.podIP}')
  for ((n = 0; n < count; n++)); do
    printf '{apiVersion: v1, kind: Service, metadata: {name: service-%d}, spec: {ports: [{name: http, port: 80}]}}\n---\n' "$n"
  done | "$topo" apply -f - >"$work/out"
  for ((n = 0; n < count; n++)); do
    printf 'service-%d.default.svc.cluster.local A\nservice-%d.default.svc.cluster.local AAAA\n' "$n" "$n"
  done | shuf >"$work/queries"
  until "$topo" exec C0/c1 -- getent hosts "service-$((count - 1))" >"$work/out"; do sleep 0.1; done
  dns_pids=$(servers)
  : >"$work/ours" && : >"$work/floor"
  for ((run = 0; run < runs; run++)); do
    before=$(used)
    "$topo" exec C0/c1 -- dnsperf -s 100.64.0.10 -b 4096 -l 3 -q 100 <"$work/queries" >"$work/dnsperf"
    after=$(used)
    said=$(awk '/Queries per second/ { print $4 }' "$work/dnsperf")
    answered=$(awk '/Queries completed/ { print $3 }' "$work/dnsperf")
    echo "$said" >>"$work/ours"
    awk -v n="$answered" -v t="$((after - before))" 'BEGIN { print n / (t / 1e9) }' >>"$work/floor"
  done
  row "$count services, dnsperf in a pod: queries a second, by the clock" "$(median <"$work/ours")" - - ">= 50000"
  row "  the same, by a second of the servers' processor time" "$(median <"$work/floor")" - - ">= 50000"
  row "  lost, in the last run" "$(awk '/Queries lost/ { print $3 }' "$work/dnsperf")" - - 0
  : >"$work/ours" && : >"$work/floor"
  for ((run = 0; run < runs; run++)); do
    p99 100.64.0.10 >>"$work/ours"
    p99 "$echo" >>"$work/floor"
  done
  row "  at 25,000 a second: 99 % within, ms; of a server that sends back what it gets" \
    "$(median <"$work/ours")" "$(median <"$work/floor")" - "< 1"
  for n in $dns_pids; do
    row "  memory of a server: private" "$(awk '/^Private/ { sum += $2 } END { print sum }' "/proc/$n/smaps_rollup") KiB" - - "< 20 MB"
  done
  "$topo" down >"$work/down"
}
