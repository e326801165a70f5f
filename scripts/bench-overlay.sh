#!/usr/bin/env bash
# In a worker of a lab of 100: deletes flannel.100, RUNS times; prints how long each entry of its peers took
# when the daemon made them anew, in us, from the first to the last as the kernel told of them.
set -euo pipefail
for ((run = 0; run < $1; run++)); do
  said=$(mktemp)
  ip -ts monitor neigh route >"$said" &
  monitor=$!
  sleep 0.2
  ip link delete flannel.100
  for ((turn = 0; turn < 200; turn++)); do
    sleep 0.05
    (($(ip route show dev flannel.100 2>/dev/null | wc -l) < 99)) || break
  done
  sleep 0.05
  kill "$monitor"
  wait "$monitor" 2>/dev/null || true
  grep -v Deleted "$said" | grep 'flannel.100' | grep -E 'PERMANENT|via' | tr -d '[]' | awk '{
    split($1, part, "T"); split(part[2], clock, ":")
    last = clock[1] * 3600 + clock[2] * 60 + clock[3]
    if (!n++) first = last
  } END { printf "%.2f\n", (last - first) * 1e6 / n }'
  rm "$said"
done
