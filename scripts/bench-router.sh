#!/usr/bin/env bash
# Two routers in two namespaces over a veth: ours and skrouterd, against the bare veth, in one run.
set -euo pipefail

usage() {
  cat <<'TEXT'
scripts/bench-router.sh [SECONDS]

Makes two namespaces joined by a veth, a router in each, and measures in turn, SECONDS (default 5) each:
  start     both routers started together, to the first answer across, ms
  stream    one TCP stream across, Gb/s, the middle one of three, and the processor seconds that the two routers took
            for a GB; then the same with mutual TLS between the routers (needs openssl)
  requests  small HTTP requests a second, 16 connections that are kept (needs wrk)
  connects  the same with a new connection for each request (needs wrk)
  memory    anonymous, of the idle router, MB; for each of 500 idle connections, KB
with our router, with skrouterd where KNETSIM_SKROUTERD names one, and over the bare veth. Needs root, python3. TCP of the
namespaces is reno's, whatever the machine's own is: BBR paces what is sent, and its pauses are what would be measured.
CONGESTION names another.
TOPO names a release binary to measure in place of one that is built now; ROUTER a whole command in its stead.
TEXT
}

case ${1:-} in
  -h | --help)
    usage
    exit 0
    ;;
esac
seconds=${1:-5}
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
if ((EUID != 0)); then
  echo "scripts/bench-router.sh: run it as root: it makes namespaces" >&2
  exit 2
fi
router=${ROUTER:-}
if [[ -z $router ]]; then
  topo=${TOPO:-}
  if [[ -z $topo ]]; then
    cargo build --quiet --release --locked --manifest-path "$root/Cargo.toml" -p topo
    topo=${CARGO_TARGET_DIR:-$root/target}/release/topo
  fi
  router="$topo router -c"
fi

work=$(mktemp -d)
a=benchA$$ b=benchB$$
started=()
finish() {
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  ip netns del "$a" 2>/dev/null || true
  ip netns del "$b" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

ip netns add "$a"
ip netns add "$b"
ip link add va netns "$a" type veth peer name vb netns "$b"
ip -n "$a" addr add 10.9.0.1/24 dev va
ip -n "$b" addr add 10.9.0.2/24 dev vb
for ns in "$a" "$b"; do
  ip -n "$ns" link set lo up
  ip netns exec "$ns" sysctl -qw "net.ipv4.tcp_congestion_control=${CONGESTION:-reno}"
done
ip -n "$a" link set va up
ip -n "$b" link set vb up

cat >"$work/a.json" <<'JSON'
[["router", {"id": "A", "mode": "interior"}],
 ["listener", {"host": "10.9.0.1", "port": 5001, "role": "inter-router"}],
 ["tcpListener", {"name": "web", "address": "web", "host": "127.0.0.1", "port": 8080}],
 ["tcpListener", {"name": "sink", "address": "sink", "host": "127.0.0.1", "port": 8081}]]
JSON
cat >"$work/b.json" <<'JSON'
[["router", {"id": "B", "mode": "interior"}],
 ["connector", {"host": "10.9.0.1", "port": 5001, "role": "inter-router"}],
 ["tcpConnector", {"name": "web", "address": "web", "host": "127.0.0.1", "port": 8080}],
 ["tcpConnector", {"name": "sink", "address": "sink", "host": "127.0.0.1", "port": 8081}]]
JSON
# The same with mutual TLS: as sites have it. skrouterd compares dNSNames only, with an address too.
have_tls=false
if command -v openssl >/dev/null; then
  have_tls=true
  (
    cd "$work"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -subj /CN=ca
    echo 'subjectAltName=DNS:10.9.0.1' >names
    for end in a b; do
      openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $end.key -out $end.csr -subj /CN=$end
      openssl x509 -req -in $end.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out $end.crt -extfile names
    done
  ) 2>"$work/openssl"
  for end in a b; do
    files="\"caCertFile\": \"$work/ca.crt\", \"certFile\": \"$work/$end.crt\", \"privateKeyFile\": \"$work/$end.key\""
    sed -e 's|"role": "inter-router"|&, "sslProfile": "tls", "saslMechanisms": "EXTERNAL"|' \
      -e "1s|^\[|[[\"sslProfile\", {\"name\": \"tls\", $files}], |" "$work/$end.json" >"$work/$end-tls.json"
  done
  sed -i 's|\["listener", {|&"authenticatePeer": true, |' "$work/a-tls.json"
fi
cat >"$work/ends.py" <<'PY'
"""The ends: sink, web (servers), pour HOST, hold HOST N, first HOST (clients)."""
import asyncio, socket, sys, time
what = sys.argv[1]
if what == "sink":
    listener = socket.create_server(("0.0.0.0", 8081), backlog=600)
    import threading
    def drain(c):
        block, n, start = bytearray(1 << 18), 0, None
        while k := c.recv_into(block):
            start, n = start or time.time(), n + k
        if n > 1 << 20:
            print(n, time.time() - start, flush=True)
        c.close()
    while True:
        threading.Thread(target=drain, args=(listener.accept()[0],), daemon=True).start()
elif what == "web":
    class Web(asyncio.Protocol):
        def connection_made(self, t): self.t = t
        def data_received(self, data):
            n = data.count(b"\r\n\r\n")
            last = b"onnection: close" in data
            self.t.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n" * n)
            if last: self.t.close()
    async def serve():
        s = await asyncio.get_running_loop().create_server(Web, "0.0.0.0", 8080, backlog=1024)
        await s.serve_forever()
    asyncio.run(serve())
elif what == "pour":
    c, block, end = socket.create_connection((sys.argv[2], 8081)), bytes(1 << 18), time.time() + float(sys.argv[3])
    while time.time() < end: c.sendall(block)
    c.shutdown(socket.SHUT_WR); c.recv(1)
elif what == "hold":
    held = [socket.create_connection((sys.argv[2], 8081)) for _ in range(int(sys.argv[3]))]
    time.sleep(1); print("held", flush=True); sys.stdin.read()
elif what == "first":
    start, end = float(sys.argv[3]), time.time() + 30
    while time.time() < end:
        try:
            c = socket.create_connection((sys.argv[2], 8080), timeout=1)
            c.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            if c.recv(100): print(int((time.time() - start) * 1000)); sys.exit(0)
        except OSError: pass
        time.sleep(0.005)
    sys.exit("no answer in 30 s")
PY
in_a() { ip netns exec "$a" "$@"; }
ip netns exec "$b" python3 "$work/ends.py" sink >>"$work/sink" &
started+=($!)
ip netns exec "$b" python3 "$work/ends.py" web &
started+=($!)
for port in 8080 8081; do
  until in_a python3 -c "import socket; socket.create_connection(('10.9.0.2', $port))" 2>/dev/null; do :; done
done

ticks() { awk -v hz="$(getconf CLK_TCK)" '{ sum += $14 + $15 } END { print sum / hz }' "/proc/$1/stat" "/proc/$2/stat"; }
rss() { awk '/RssAnon/ { print $2 }' "/proc/$1/status"; }
rate() { wrk -t1 -c"$1" -d"$seconds" "${@:3}" "http://$2:8080/" 2>/dev/null | awk '/Requests\/sec/ { print $2 }'; }
have_wrk=true
command -v wrk >/dev/null || have_wrk=false

# stream HOST [PID-A PID-B]: Gb/s, and processor seconds for a GB
stream() {
  local host=$1 pa=${2:-} pb=${3:-} before=0 after=0 _
  for _ in 1 2 3; do
    : >"$work/sink"
    [[ -n $pa ]] && before=$(ticks "$pa" "$pb")
    in_a python3 "$work/ends.py" pour "$host" "$seconds"
    until [[ -s $work/sink ]]; do :; done
    [[ -n $pa ]] && after=$(ticks "$pa" "$pb")
    awk -v used="$before $after" '{ split(used, t, " "); printf "%.2f %.2f\n", $1 * 8 / $2 / 1e9, (t[2] - t[1]) / ($1 / 1e9) }' \
      "$work/sink"
  done | sort -n | sed -n 2p
}

row='%-10s %8s %8s %9s %8s %9s %11s %11s %8s %8s\n'
# shellcheck disable=SC2059 # the row is ours
head_line() { printf "$row" with 'start ms' Gb/s 'cpu s/GB' 'TLS Gb/s' 'cpu s/GB' requests/s connects/s 'idle MB' KB/conn; }
head_line
# measure NAME HOST [PID-A PID-B BEGAN COMMAND…]
measure() {
  local name=$1 host=$2 pa=${3:-} pb=${4:-} began=${5:-} start=- gbits cpu=- tls=- tls_cpu=- requests=- connects=- idle=- each=-
  local before
  if [[ -n $pa ]]; then
    start=$(in_a python3 "$work/ends.py" first "$host" "$began")
    idle=$(awk -v k="$(rss "$pa")" 'BEGIN { printf "%.1f", k / 1024 }')
  fi
  read -r gbits cpu < <(stream "$host" "$pa" "$pb")
  [[ -n $pa ]] || cpu=-
  if $have_wrk; then
    requests=$(in_a bash -c "$(declare -f rate); seconds=$seconds; rate 16 $host")
    connects=$(in_a bash -c "$(declare -f rate); seconds=$seconds; rate 16 $host -H 'Connection: close'")
  fi
  if [[ -n $pa ]]; then
    before=$(rss "$pa")
    mkfifo "$work/hold"
    in_a python3 "$work/ends.py" hold "$host" 500 <"$work/hold" >"$work/held" &
    exec 9>"$work/hold"
    until grep -q held "$work/held" 2>/dev/null; do :; done
    each=$(awk -v a="$before" -v b="$(rss "$pa")" 'BEGIN { printf "%.1f", (b - a) / 500 }')
    exec 9>&-
    rm "$work/hold" "$work/held"
    kill "$pa" "$pb"
    wait "$pa" "$pb" 2>/dev/null || true
    if $have_tls; then
      began=${EPOCHREALTIME/,/.}
      pair "$name-tls" -tls "${@:6}"
      in_a python3 "$work/ends.py" first "$host" "$began" >/dev/null
      read -r tls tls_cpu < <(stream "$host" "$pa" "$pb")
      kill "$pa" "$pb"
      wait "$pa" "$pb" 2>/dev/null || true
    fi
  fi
  # shellcheck disable=SC2059 # the row is ours
  printf "$row" "$name" "$start" "$gbits" "$cpu" "$tls" "$tls_cpu" "$requests" "$connects" "$idle" "$each"
}
# pair NAME SUFFIX COMMAND…: starts two routers; sets pa and pb
pair() {
  local name=$1 suffix=$2
  shift 2
  ip netns exec "$a" "$@" "$work/a$suffix.json" >"$work/$name.a" 2>&1 &
  pa=$!
  ip netns exec "$b" "$@" "$work/b$suffix.json" >"$work/$name.b" 2>&1 &
  pb=$!
  started+=("$pa" "$pb")
}
# with NAME COMMAND…
with() {
  local name=$1 pa pb began=${EPOCHREALTIME/,/.}
  shift
  pair "$name" '' "$@"
  measure "$name" 127.0.0.1 "$pa" "$pb" "$began" "$@"
}

measure veth 10.9.0.2
# shellcheck disable=SC2086 # a command and its first words
with ours $router
if [[ -n ${KNETSIM_SKROUTERD:-} ]]; then
  with skrouterd "$KNETSIM_SKROUTERD" -c
else
  echo "NOT MEASURED: skrouterd (name one by KNETSIM_SKROUTERD)"
fi
