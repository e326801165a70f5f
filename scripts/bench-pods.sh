# shellcheck shell=bash
# The scenarios of pods; sourced by scripts/bench, whose variables and functions these use.
: "${root:?}" "${work:?}" "${runs:?}" "${topo:?}"

helper=(/usr/bin/python3 "$root/scripts/bench-pods.py")
# own COMMAND…: in namespaces of its own, which go with it.
own() { unshare --net --mount --pid --fork --kill-child --mount-proc "$@"; }
# settle: the kernel takes namespaces that are gone apart in the background, and keeps others waiting.
settle() { sleep 1; }
# column N: of the lines on standard input.
column() { awk -v n="$1" '{ print $n }'; }
# spread: smallest and largest of the numbers on standard input.
spread() { sort -g | awk 'NR == 1 { a = $1 } { b = $1 } END { print a " to " b }'; }
# pod_ip POD
pod_ip() { "$topo" get pod "$1" -o json | sed -n 's/.*"podIP": *"\([^"]*\)".*/\1/p'; }

scenario_pods() {
  default_lab
  one_pod
  memory_of_pods
  streams
  many_pods
}

# reachable: every pod of the default lab from the first one of its cluster.
reachable() {
  local cluster pod
  for cluster in C0 C1; do
    for pod in c2 c3 c4; do
      "$topo" exec $cluster/c1 -- ping -c 1 -W 2 "$("$topo" get pod $pod --cluster $cluster -o json |
        sed -n 's/.*"podIP": *"\([^"]*\)".*/\1/p')" >"$work/ping" || {
        echo "scripts/bench: $cluster/c1 does not reach $pod" >&2
        return 1
      }
    done
  done
}

default_lab() {
  : >"$work/ours" && : >"$work/floor" && : >"$work/where"
  for ((run = 0; run < runs; run++)); do
    settle
    "$topo" up --quiet -f "$root/conf/two-clusters.yaml"
    "$topo" status -o json | sed -n 's/.*"startedIn": \([0-9.]*\).*/\1/p' >>"$work/ours"
    reachable
    "${helper[@]}" where "$KNETSIM_STATE_DIR/knetsim/logs" >>"$work/where"
    "$topo" down >"$work/down"
    settle
    own "${helper[@]}" floor-lab >>"$work/floor"
  done
  local ours floor
  ours=$(median <"$work/ours") floor=$(column 1 <"$work/floor" | median)
  row "default lab, 8 pods, to ready (floor: by hand)" "$ours s" "$floor s" "$(ratio "$ours" "$floor")" "< 2"
  row "  smallest and largest" "$(spread <"$work/ours")" "$(column 1 <"$work/floor" | spread)" -
  row "  floor: namespaces and cables; then plugins; stores answer, beside the plugins" \
    - "$(for n in 2 3 4; do column $n <"$work/floor" | median; done | tr '\n' ' ')" -
  row "  ours, by the logs: an etcd answers; leases; first pod Ready; last" \
    "$(for n in 1 2 3 4; do column $n <"$work/where" | median; done | tr '\n' ' ')" - -
}

one_pod() {
  "$topo" up --quiet -f "$root/conf/two-clusters.yaml"
  "$topo" exec C0w2 -- "${helper[@]}" pod c2 C0w2 $((5 * runs)) >"$work/pod"
  local ready hand
  read -r ready _ _ hand _ <"$work/pod"
  row "a pod from its write to Ready (bridge and host-local by hand, and 20 ms)" "$ready ms" \
    "$(awk -v h="$hand" 'BEGIN { print h + 20 }') ms" "$(awk -v r="$ready" -v h="$hand" 'BEGIN { printf "%.2f", r / (h + 20) }')" "<= 1"
  row "  smallest and largest of $((5 * runs))" "$(column 2 <"$work/pod") to $(column 3 <"$work/pod")" \
    "$(column 5 <"$work/pod") to $(column 6 <"$work/pod")" -
  row "  its end, from the write of deletionTimestamp to the object's" "$(column 7 <"$work/pod") ms" - -
}

# private PID: KiB.
private() { awk '/^Private/ { sum += $2 } END { print sum }' "/proc/$1/smaps_rollup"; }

memory_of_pods() {
  local pid shim first
  pid=$("$topo" status -o json | sed -n 's/.*"pid": \([0-9]*\).*/\1/p' | sed -n 4p)
  row "memory, private: an agent with a pod" "$(private "$pid") KiB" - -
  shim=$(pgrep -P "$pid" | head -1)
  first=$(pgrep -P "$shim" | head -1)
  row "memory, private: a pod's shim; what it runs without a command" "$(private "$shim") KiB" "$(private "$first") KiB" -
}

# stream FROM TO ADDRESS: Gbit/s that the receiver saw.
stream() {
  local server
  "$topo" exec "$2" -- "${helper[@]}" serve 5201 >"$work/stream" 2>"$work/out" &
  server=$!
  until grep -q listening "$work/stream" 2>/dev/null; do sleep 0.02; done
  "$topo" exec "$1" -- "${helper[@]}" send "$3" 5201 2
  wait "$server"
  tail -n 1 "$work/stream"
}

streams() {
  local c2 c4
  c2=$(pod_ip c2) c4=$(pod_ip c4)
  : >"$work/ours" && : >"$work/hand"
  for ((run = 0; run < runs; run++)); do
    echo "$(stream C0/c1 C0/c2 "$c2") $(stream C0/c3 C0/c4 "$c4")" >>"$work/ours"
    own bash "$root/scripts/bench-vxlan.sh" "${helper[@]}" >>"$work/hand"
  done
  "$topo" down >"$work/down"
  local n ours hand name
  for n in 1 2; do
    ours=$(column $n <"$work/ours" | median) hand=$(column $n <"$work/hand" | median)
    name=$([[ $n == 1 ]] && echo "two workers (vxlan by hand)" || echo "one worker (bridge by hand)")
    row "TCP from pod to pod, $name" "$ours Gbit/s" "$hand Gbit/s" "$(ratio "$ours" "$hand")" ">= 0.95"
  done
}

many_pods() {
  local count=${PODS:-1000} rounds=$(((runs + 2) / 3))
  "$topo" up --quiet -f "$root/conf/hundred-workers.yaml" --timeout 120
  "$topo" pod create C0w1 template >"$work/out"
  "$topo" exec C0w1 -- bash "$root/scripts/bench-overlay.sh" "$runs" >"$work/overlay"
  row "a worker's entry of the overlay, of 99 peers made anew" "$(median <"$work/overlay") us" - - "< 10 us"
  row "  smallest and largest" "$(spread <"$work/overlay")" - -
  : >"$work/ours" && : >"$work/floor"
  for ((run = 0; run < rounds; run++)); do
    "$topo" exec C0e1 -- "${helper[@]}" many template 100 "$count" >>"$work/ours"
    settle
    own "${helper[@]}" floor-many 100 "$count" 4 >>"$work/floor"
  done
  "$topo" down >"$work/down"
  local ours floor
  ours=$(column 1 <"$work/ours" | median) floor=$(column 1 <"$work/floor" | median)
  row "$count pods on 100 workers, a second (by hand, 4 at a time)" "$ours" "$floor" "$(ratio "$ours" "$floor")" ">= 0.8"
  ours=$(column 2 <"$work/ours" | median) floor=$(column 2 <"$work/floor" | median)
  row "  their end, a second (by hand: the namespace first)" "$ours" "$floor" "$(ratio "$ours" "$floor")"
  row "  by hand: the plugins first" - "$(column 3 <"$work/floor" | median)" -
}
