"""Mininet building the hosts and bridges of a lab, with nothing running in them; prints the seconds.

Arguments: clusters, workers in each. Each cluster also has one host where the lab has etcd.
"""

import sys
import time

from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge

setLogLevel("error")
clusters, workers = int(sys.argv[1]), int(sys.argv[2])
began = time.monotonic()
net = Mininet(switch=LinuxBridge, controller=None, ipBase="10.0.0.0/8", waitConnected=False)
top = net.addSwitch("t0")
for cluster in range(clusters):
    switch = net.addSwitch(f"C{cluster}s0")
    names = [(f"C{cluster}e1", f"10.{cluster + 1}.0.1/8")]
    names += [(f"C{cluster}w{i + 1}", f"10.0.{cluster}.{3 + i}/8") for i in range(workers)]
    for name, address in names:
        net.addLink(net.addHost(name, ip=address), switch)
    net.addLink(switch, top)
net.start()
print(f"{time.monotonic() - began:.4f}", flush=True)
net.stop()
