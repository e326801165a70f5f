# shellcheck shell=bash
# The scenarios of ingress; sourced by scripts/bench, whose variables and functions these use.
: "${root:?}" "${work:?}" "${runs:?}" "${topo:?}"

# by_hand POD-ADDRESS…: the same route in an nginx.conf that somebody has tuned: kept connections to the pods, the
# usual headers, a buffered log of the same requests.
by_hand() {
  mkdir -p "$work/hand"
  {
    cat <<'CONF'
user root;
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
  server_tokens off;
  client_body_temp_path client_body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  keepalive_requests 100000;
  log_format json escape=json '{"time":"$time_iso8601","client":"$remote_addr","method":"$request_method",'
    '"host":"$host","uri":"$request_uri","status":$status,"bytes":$body_bytes_sent,"seconds":$request_time,'
    '"endpoint":"$upstream_addr","endpoint_seconds":"$upstream_response_time"}';
  access_log access.log json buffer=32k flush=1s;
  upstream web {
CONF
    printf '    server %s:8000;\n' "$@"
    cat <<'CONF'
    keepalive 64;
  }
  server {
    listen 8080 reuseport;
    server_name web.example.com;
    location / {
      proxy_pass http://web;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Request-ID $request_id;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
    }
  }
}
CONF
  } >"$work/hand/nginx.conf"
}

# wrk_to PORT: requests a second and p99 in milliseconds.
wrk_to() {
  "$topo" exec C0e1 -- wrk -t 1 -c 32 -d "${SECONDS_OF_WRK:-4}s" --latency -H 'Host: web.example.com' \
    "http://10.0.0.3:$1/" >"$work/wrk"
  if grep -E 'Non-2xx|Socket errors' "$work/wrk" >&2; then return 1; fi
  awk '/Requests\/sec/ { r = $2 }
    $1 == "99%" { v = $2 + 0; if ($2 ~ /us$/) v /= 1000; else if ($2 !~ /ms$/) v *= 1000; p = v }
    END { print r, p }' "$work/wrk"
}

scenario_ingress() {
  command -v wrk >/dev/null || {
    echo "scripts/bench: there is no wrk (apt-get install wrk)" >&2
    return 2
  }
  printf 'dns: false\nclusters: [{name: C0, workers: 2}]\n' >"$work/ingress.yaml"
  "$topo" up --quiet -f "$work/ingress.yaml"
  local name ips=() hand
  for name in a b; do
    "$topo" pod create C0w2 $name --image netshoot -- topo echo --port 8000 "pod-$name" >"$work/out"
    "$topo" label pod $name bench=web >"$work/out"
    ips+=("$("$topo" get pod $name -o json | sed -n 's/.*"podIP": *"\([^"]*\)".*/\1/p' | head -1)")
  done
  "$topo" apply -f - >"$work/out" <<'YAML'
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {bench: web}, ports: [{port: 80, targetPort: 8000}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {rules: [{host: web.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
YAML
  by_hand "${ips[@]}"
  "$topo" exec C0w1 -- nginx -p "$work/hand/" -c nginx.conf 2>"$work/hand/stderr" &
  hand=$!
  until wrk_ready 80 && wrk_ready 8080; do sleep 0.05; done

  : >"$work/ours" && : >"$work/theirs"
  for ((run = 0; run < runs; run++)); do
    wrk_to 80 >>"$work/ours"
    wrk_to 8080 >>"$work/theirs"
  done
  local ours theirs
  ours=$(awk '{ print $1 }' <"$work/ours" | median) theirs=$(awk '{ print $1 }' <"$work/theirs" | median)
  row "requests a second, 32 connections kept (nginx.conf by hand)" "$ours" "$theirs" "$(ratio "$ours" "$theirs")" ">= 0.97"
  ours=$(awk '{ print $2 }' <"$work/ours" | median) theirs=$(awk '{ print $2 }' <"$work/theirs" | median)
  row "  p99" "$ours ms" "$theirs ms" "$(ratio "$ours" "$theirs")"
  kill "$hand"
  wait "$hand" 2>/dev/null || true

  "$topo" exec C0e1 -- python3 "$root/scripts/bench-ingress.py" switch http://10.1.0.1:2379 10.0.0.3 \
    "pod-a=${ips[0]}" "pod-b=${ips[1]}" $((2 * runs)) >"$work/switch"
  row "an endpoint changes: from the write to the first answer of the other" "$(median <"$work/switch") ms" - - "< 100 ms"
  row "  smallest and largest" "$(sort -g "$work/switch" | sed -n '1p;$p' | tr '\n' ' ')" - -
  "$topo" exec C0e1 -- python3 "$root/scripts/bench-ingress.py" many http://10.1.0.1:2379 10.0.0.3 1000 10 >"$work/many"
  row "1,000 ingresses of 10 paths: served, from the first write; from the last" "$(tr '\n' ' ' <"$work/many")s" - - "< 1 s"
  row "  of it objects to a configuration in service" "$("$topo" exec C0e1 -- curl -s http://10.0.0.3:10254/metrics |
    awk '$1 == "knetsim_ingress_last_apply_seconds" { print $2 }') s" - -
  "$topo" down >"$work/down"
}

# wrk_ready PORT: whether the route is served there.
wrk_ready() {
  [[ $("$topo" exec C0e1 -- curl -s -H 'Host: web.example.com' "http://10.0.0.3:$1/") == pod-* ]]
}
