"""What scripts/bench measures of pods, and what it measures them against; each subcommand prints its figures.

    floor-lab          in namespaces of its own: the default lab's namespaces, cables, stores and CNI calls
    floor-many W N P   in namespaces of its own: N pods' namespaces and CNI calls on W workers, P at a time
    pod N              in a worker: N times in turn a pod, from its write to etcd to Ready, and its CNI calls by hand
    many W N           in an etcd node: N pods on W workers, from the first write to the last Ready, and back
    where LOGS         from a lab's logs, in seconds after its first word: etcd, leases, first pod Ready, last
    serve, send        one TCP stream: the receiving end, and the sending one

Everything by the standard library, so that it runs in any namespace of a lab.
"""

import base64
import ctypes
import http.client
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PLUGINS = next(p for p in ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni") if os.path.exists(p + "/bridge"))
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
HERE = threading.local()


def enter(namespace):
    """Moves the calling thread into a network namespace; what it starts is in there, too."""
    if getattr(HERE, "namespace", None) == namespace:
        return
    file = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    if LIBC.setns(file, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"setns {namespace}")
    os.close(file)
    HERE.namespace = namespace


def spawn(program, environment, text):
    """Runs a program from the calling thread; its standard input and output are files in memory."""
    given, said = os.memfd_create("stdin", os.MFD_CLOEXEC), os.memfd_create("stdout", os.MFD_CLOEXEC)
    try:
        os.write(given, text)
        os.lseek(given, 0, 0)
        actions = [(os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, said, 1)]
        pid = os.posix_spawn(program, [program], environment, file_actions=actions)
        _, status = os.waitpid(pid, 0)
        output = os.pread(said, 1 << 20, 0)
    finally:
        os.close(given)
        os.close(said)
    if status:
        raise RuntimeError(f"{program}: {status}: {output.decode()}")
    return output


def bridge(data, subnet, name="cni0", network="cbr0"):
    """What the flannel plugin gives the bridge plugin."""
    return {
        "cniVersion": "0.3.1", "name": network, "type": "bridge", "bridge": name, "mtu": 1450,
        "hairpinMode": True, "ipMasq": False, "isGateway": True, "isDefaultGateway": True,
        "ipam": {"type": "host-local", "dataDir": data, "ranges": [[{"subnet": subnet}]],
                 "routes": [{"dst": "11.0.0.0/8"}]},
    }


def plugin(command, pod, config):
    environment = {
        "CNI_COMMAND": command, "CNI_CONTAINERID": pod, "CNI_IFNAME": "eth0", "CNI_PATH": PLUGINS,
        "PATH": os.environ["PATH"], "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod}",
    }
    if pod_exists(pod):
        environment["CNI_NETNS"] = f"/run/netns/{pod}"
    return spawn(f"{PLUGINS}/{config['type']}", environment, json.dumps(config).encode())


def pod_exists(pod):
    return os.path.exists(f"/run/netns/{pod}")


def portmap(previous):
    return {"cniVersion": "0.3.1", "name": "cbr0", "type": "portmap", "capabilities": {"portMappings": True},
            "prevResult": json.loads(previous)}


def attach(worker, pod, config):
    """bridge, which calls host-local, and portmap, as a runtime calls them: three executions."""
    enter(worker)
    plugin("ADD", pod, portmap(plugin("ADD", pod, config)))


def ip(lines, *flags):
    subprocess.run(["ip", *flags, "-batch", "-"], input="\n".join(lines).encode(), check=True)


def etcd(name, address, data):
    """A store as a lab starts it."""
    enter(name)
    environment = dict(os.environ, ETCD_LOGGER="zap", ETCD_LOG_LEVEL="error")
    return subprocess.Popen(
        ["etcd", "--name", name, "--listen-client-urls", f"http://{address}:2379,http://127.0.0.1:2379",
         "--advertise-client-urls", f"http://{address}:2379", "--listen-peer-urls", f"http://{address}:2380",
         "--initial-advertise-peer-urls", f"http://{address}:2380", "--initial-cluster", f"{name}=http://{address}:2380",
         "--heartbeat-interval", "10", "--election-timeout", "50", "--data-dir", f"{data}/{name}"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def answered(name):
    """Waits until the store of a namespace has taken a key."""
    enter(name)
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", 2379, timeout=5)
            connection.request("POST", "/v3/kv/put", json.dumps({"key": "YQ==", "value": "YQ=="}))
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.001)


def node(links, name, address, switch):
    links += [f"netns add {name}", f"link add {name}-s type veth peer name eth0 netns {name}",
              f"link set {name}-s master {switch} up"]
    return name, [f"addr add {address}/8 dev eth0", "link set eth0 up", "link set lo up"]


def own_world():
    """The caller is in mount and network namespaces of its own: it needs its own names and a fast folder."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    os.makedirs("/run/netns")
    os.makedirs("/run/data")


def floor_lab():
    own_world()
    began = time.monotonic()
    links = [line for switch in ("t0", "C0s0", "C1s0") for line in
             (f"link add {switch} type bridge", f"link set {switch} up")]
    for switch in ("C0s0", "C1s0"):
        links += [f"link add {switch}-t type veth peer name t-{switch}", f"link set {switch}-t master {switch} up",
                  f"link set t-{switch} master t0 up"]
    nodes, pods = [], []
    for cluster in (0, 1):
        switch = f"C{cluster}s0"
        nodes.append(node(links, f"C{cluster}e1", f"10.{cluster + 1}.0.1", switch))
        for worker in (1, 2, 3):
            name = f"C{cluster}w{worker}"
            nodes.append(node(links, name, f"10.0.0.{2 + worker + 5 * cluster}", switch))
            for pod in ([3, 4] if worker == 3 else [worker]):
                pods.append((name, f"C{cluster}-c{pod}", f"11.{10 + worker}.0.0/20"))
                links.append(f"netns add C{cluster}-c{pod}")
    ip(links)
    for name, lines in nodes:
        ip(lines, "-n", name)
    linked = time.monotonic()
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda c: etcd(f"C{c}e1", f"10.{c + 1}.0.1", "/run/data"), (0, 1)))
        answers = [pool.submit(answered, f"C{c}e1") for c in (0, 1)]
        with ThreadPoolExecutor(4) as four:
            list(four.map(lambda p: attach(p[0], p[1], bridge(f"/run/data/{p[0]}", p[2])), pods))
        attached = time.monotonic()
        for answer in answers:
            answer.result()
    ready = time.monotonic()
    for store in stores:
        store.kill()
    print(f"{ready - began:.4f} {linked - began:.4f} {attached - linked:.4f} {ready - linked:.4f}")


def floor_many(workers, count, parallel):
    own_world()
    names = [f"C0w{n + 1}" for n in range(workers)]
    ip([f"netns add {name}" for name in names])
    configs = {name: bridge(f"/run/data/{name}", f"11.{10 + n // 16}.{n % 16 * 16}.0/20") for n, name in enumerate(names)}
    with ThreadPoolExecutor(parallel) as pool:
        def make(n):
            subprocess.run(["ip", "netns", "add", f"p{n}"], check=True)
            attach(names[n % workers], f"p{n}", configs[names[n % workers]])

        def unmake(n, first):
            enter(names[n % workers])
            if first:
                subprocess.run(["ip", "netns", "delete", f"p{n}"], check=True)
            plugin("DEL", f"p{n}", configs[names[n % workers]])
            if not first:
                subprocess.run(["ip", "netns", "delete", f"p{n}"], check=True)

        began = time.monotonic()
        list(pool.map(make, range(count)))
        made = time.monotonic()
        half = count // 2
        list(pool.map(lambda n: unmake(n, True), range(half)))
        first = time.monotonic()
        list(pool.map(lambda n: unmake(n, False), range(half, count)))
        ended = time.monotonic()
    print(f"{count / (made - began):.1f} {half / (first - made):.1f} {(count - half) / (ended - first):.1f}")


class Store:
    """etcd by its JSON gateway."""

    def __init__(self, address):
        self.address = address
        self.connection = http.client.HTTPConnection(address, 2379)
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, path, body):
        self.connection.request("POST", path, json.dumps(body))
        return json.loads(self.connection.getresponse().read())

    def get(self, name):
        found = self.call("/v3/kv/range", {"key": key(name)}).get("kvs")
        return json.loads(base64.b64decode(found[0]["value"])) if found else None

    def put(self, name, pod):
        self.call("/v3/kv/put", {"key": key(name), "value": base64.b64encode(json.dumps(pod).encode()).decode()})

    def watch(self, told):
        """Calls `told(name, pod or None, when)` for every change of a pod, in a thread."""
        connection = http.client.HTTPConnection(self.address, 2379)
        end = base64.b64encode(b"/registry/pods/default0").decode()
        connection.request("POST", "/v3/watch", json.dumps({"create_request": {"key": key(""), "range_end": end}}))
        answer = connection.getresponse()
        answer.readline()

        def listen():
            while line := answer.readline():
                when = time.monotonic()
                for event in json.loads(line)["result"].get("events", []):
                    name = base64.b64decode(event["kv"]["key"]).decode().rsplit("/", 1)[1]
                    gone = event.get("type") == "DELETE"
                    told(name, None if gone else json.loads(base64.b64decode(event["kv"]["value"])), when)

        threading.Thread(target=listen, daemon=True).start()


def key(name):
    return base64.b64encode(f"/registry/pods/default/{name}".encode()).decode()


def is_ready(pod):
    conditions = pod.get("status", {}).get("conditions", []) if pod else []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def copy_of(template, name, worker):
    pod = json.loads(json.dumps(template))
    meta = pod["metadata"]
    pod["metadata"] = {k: meta[k] for k in ("namespace", "labels", "creationTimestamp", "generation") if k in meta}
    pod["metadata"].update(name=name, uid=f"{time.time_ns():032x}"[-32:])
    pod["spec"]["nodeName"] = worker
    pod["status"] = {"phase": "Pending", "qosClass": "BestEffort"}
    return pod


def end_of(pod):
    pod["metadata"].update(deletionTimestamp=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), deletionGracePeriodSeconds=30)
    return pod


class Wanted:
    """Waits for pods' changes."""

    def __init__(self, store):
        self.changes, self.condition = {}, threading.Condition()
        store.watch(self.told)

    def told(self, name, pod, when):
        with self.condition:
            self.changes.setdefault(name, []).append((pod, when))
            self.condition.notify()

    def when(self, name, holds, patience=120):
        with self.condition:
            def found():
                return next((w for pod, w in self.changes.get(name, []) if holds(pod)), None)
            if not self.condition.wait_for(found, patience):
                raise TimeoutError(f"{name}: {self.changes.get(name)}")
            return found()


def pod(template, worker, rounds):
    """Prints medians, in ms: to Ready, bridge and host-local by hand, and to the object's end."""
    store = Store("10.1.0.1")
    wanted = Wanted(store)
    template = store.get(template)
    data = f"/run/lab/{worker}/bench"
    config = bridge(data, "11.200.0.0/24", "bench0", "bench")
    ready, by_hand, gone = [], [], []
    for n in range(rounds + 1):
        name = f"bench-{n}"
        new = copy_of(template, name, worker)
        began = time.monotonic()
        store.put(name, new)
        ready.append(wanted.when(name, is_ready) - began)
        time.sleep(0.05)
        began = time.monotonic()
        store.put(name, end_of(store.get(name)))
        gone.append(wanted.when(name, lambda pod: pod is None) - began)
        time.sleep(0.05)
        subprocess.run(["ip", "netns", "add", name], check=True)
        began = time.monotonic()
        plugin("ADD", name, config)
        by_hand.append(time.monotonic() - began)
        subprocess.run(["ip", "netns", "delete", name], check=True)
        plugin("DEL", name, config)
        time.sleep(0.05)
    # The first of each finds cold caches, and the bridge not made.
    for times in (ready, by_hand, gone):
        print(" ".join(f"{1e3 * t:.1f}" for t in [statistics.median(times[1:]), min(times[1:]), max(times[1:])]), end=" ")
    print()


def many(template, workers, count):
    """Prints pods per second: to Ready, to their end."""
    store = Store("127.0.0.1")
    wanted = Wanted(store)
    template = store.get(template)
    pods = {f"bench-{n}": copy_of(template, f"bench-{n}", f"C0w{n % workers + 1}") for n in range(count)}
    began = time.monotonic()
    for name, new in pods.items():
        store.put(name, new)
    written = time.monotonic()
    last = max(wanted.when(name, is_ready, 600) for name in pods)
    time.sleep(1)
    latest = {name: store.get(name) for name in pods}
    middle = time.monotonic()
    for name, old in latest.items():
        store.put(name, end_of(old))
    ended = max(wanted.when(name, lambda pod: pod is None, 600) for name in pods)
    print(f"{count / (last - began):.1f} {count / (ended - middle):.1f} {written - began:.2f}")


def where(logs):
    """The slowest cluster counts, as it does for the lab."""
    first, etcd_answers, leased, ready = None, [], [], {}
    for file in sorted(Path(logs).glob("C*/*")):
        for line in file.read_text(errors="replace").splitlines():
            line = re.sub(r"\x1b\[[0-9;]*m", "", line)
            match = re.match(r"\d+-\d+-\d+T(\d+):(\d+):([\d.]+)Z +\w+ (.*)", line)
            if not match:
                continue
            hours, minutes, seconds, text = match.groups()
            when = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
            first = min(first or when, when)
            cluster = file.parent.name[:2]
            if "published key=" in text:
                etcd_answers.append(when)
            elif "flannel::daemon: " in text and " peer" in text:
                leased.append((file.parent.name, when))
            for pods in re.findall(r"(\d+) of \d+ ready", text):
                if int(pods):
                    ready.setdefault(cluster, []).append(when)
    leases = {}
    for name, when in leased:
        leases.setdefault(name, when)
    times = [max(etcd_answers), max(leases.values()), max(t[0] for t in ready.values()), max(t[-1] for t in ready.values())]
    print(" ".join(f"{when - first:.3f}" for when in times))


def serve(port):
    listener = socket.create_server(("", port))
    print("listening", flush=True)
    connection, _ = listener.accept()
    buffer, total = bytearray(1 << 18), 0
    began = time.monotonic()
    while size := connection.recv_into(buffer):
        total += size
    print(f"{total * 8 / (time.monotonic() - began) / 1e9:.3f}")


def send(address, port, seconds):
    connection = socket.create_connection((address, port), timeout=5)
    block, until = bytes(1 << 17), time.monotonic() + seconds
    while time.monotonic() < until:
        connection.sendall(block)
    connection.close()


def main(command, *arguments):
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    match command, arguments:
        case "floor-lab", ():
            floor_lab()
        case "floor-many", (workers, count, parallel):
            floor_many(int(workers), int(count), int(parallel))
        case "pod", (template, worker, rounds):
            pod(template, worker, int(rounds))
        case "many", (template, workers, count):
            many(template, int(workers), int(count))
        case "where", (logs,):
            where(logs)
        case "serve", (port,):
            serve(int(port))
        case "send", (address, port, seconds):
            send(address, int(port), float(seconds))
        case _:
            sys.exit(__doc__)


main(*sys.argv[1:])
