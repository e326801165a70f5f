"""Figures of ingress that want a clock beside the request; run in C0e1 by scripts/bench-ingress.sh.

bench-ingress.py switch ETCD ADDRESS A B RUNS   an endpoint slice changes from pod A to pod B and back:
                                                milliseconds from the write to the first answer of the other
bench-ingress.py many ETCD ADDRESS N PATHS      N ingresses: seconds from the first write and from the last until
                                                the last one's host is answered
Objects are written straight into etcd, over its JSON gateway.
"""

import base64
import http.client
import json
import socket
import sys
import time

NOW = "2026-01-01T00:00:00Z"


def etcd(address):
    host, port = address.removeprefix("http://").split(":")
    return http.client.HTTPConnection(host, int(port))


def b64(text):
    return base64.b64encode(text.encode()).decode()


def put(connection, pairs):
    puts = [{"requestPut": {"key": b64(key), "value": b64(json.dumps(value))}} for key, value in pairs]
    connection.request("POST", "/v3/kv/txn", json.dumps({"success": puts}))
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        sys.exit(f"etcd: {answer.status} {body}")


def get(address, host, path):
    """A request over a connection of its own: status and body."""
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError as error:
        return 0, str(error)
    finally:
        connection.close()


def meta(name, **more):
    return {"name": name, "namespace": "default", "uid": "uid-" + name, "creationTimestamp": NOW, "generation": 1} | more


def ingress(name, host, service, paths):
    backend = {"service": {"name": service, "port": {"number": 80}}}
    rules = [{"host": host, "http": {"paths": [{"path": p, "pathType": "Prefix", "backend": backend} for p in paths]}}]
    return f"/registry/ingress/default/{name}", {
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta(name), "spec": {"rules": rules}}


def service(name):
    return f"/registry/services/specs/default/{name}", {
        "apiVersion": "v1", "kind": "Service", "metadata": meta(name),
        "spec": {"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"name": "http", "port": 80, "targetPort": 8000}]}}


def endpoints(name, pods):
    found = [{"addresses": [ip], "conditions": {"ready": True, "serving": True, "terminating": False}} for ip in pods]
    labels = {"kubernetes.io/service-name": name}
    return f"/registry/endpointslices/default/{name}-x", {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta(name + "-x", labels=labels),
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}], "endpoints": found}


def until(address, host, path, wanted):
    limit = time.monotonic() + 30
    while True:
        status, body = get(address, host, path)
        now = time.monotonic()
        if status == 200 and wanted in body:
            return now
        if now > limit:
            sys.exit(f"{host}{path}: {status} {body}")
        # Who asks without a rest takes the processor from those who are to answer.
        time.sleep(0.002)


def switch(store, address, first, second, runs):
    host = "switch.example.com"
    put(store, [service("switch"), endpoints("switch", [first[1]]), ingress("switch", host, "switch", ["/"])])
    until(address, host, "/", first[0])
    for _ in range(runs):
        # The one before is still on its way out when changes come at once.
        time.sleep(2)
        began = time.monotonic()
        put(store, [endpoints("switch", [second[1]])])
        print(f"{(until(address, host, '/', second[0]) - began) * 1000:.1f}")
        first, second = second, first


def many(store, address, count, paths):
    all_paths = [f"/path{i}" for i in range(paths)]
    objects = [ingress(f"many-{n}", f"many-{n}.example.com", "switch", all_paths) for n in range(count)]
    began = time.monotonic()
    for i in range(0, count, 100):
        put(store, objects[i:i + 100])
    written = time.monotonic()
    served = until(address, f"many-{count - 1}.example.com", all_paths[-1], "")
    print(f"{served - began:.3f} {served - written:.3f}")


def main():
    what, store, address, *rest = sys.argv[1:]
    if what == "switch":
        first, second, runs = rest
        switch(etcd(store), address, first.split("="), second.split("="), int(runs))
    else:
        many(etcd(store), address, *map(int, rest))


main()
