"""Machines of one's own: each a network and mount namespace with an address on a common link, a file
system of its own at /etc, /var/lib and /run, and processes that run as on any host."""
import os
import re
import signal
from pathlib import Path

from lib.programs import BUILD, HANG_S, TOP, Process, run, wait_until

UNITS = TOP / "deploy/systemd"


def unit_command(unit, key="ExecStart"):
    """The command line of a unit, with the programs of this build."""
    line = re.search(rf"^{key}=(.*)$", (UNITS / unit).read_text(), re.M).group(1)
    words = line.split()
    return [words[0].replace("/usr/bin", str(programs_folder())), *words[1:]]


def programs_folder():
    return BUILD if (BUILD / "tulled").exists() else BUILD / "src/main"


class Host:
    """One machine; `run` and `start` are its shell. Ends with the network that it belongs to."""

    def __init__(self, network, name, number):
        self.network, self.name, self.address = network, name, f"10.99.0.{number}"
        self.logs = network.logs / name
        self.logs.mkdir(parents=True, exist_ok=True)
        self.processes = []
        # The resolver that /etc names answers nobody: only what the sidecar knows is known.
        script = (f"mount -t tmpfs tulle-test /run && mount -t tmpfs tulle-test /var/lib && "
                  f"mkdir -p /run/tulle /run/etc/up /run/etc/work && mount -t overlay tulle-test -o "
                  f"lowerdir=/etc,upperdir=/run/etc/up,workdir=/run/etc/work /etc && mkdir /etc/tulle && "
                  f"echo 'nameserver {network.gateway}' > /etc/resolv.conf && "
                  f"echo tulle:x:990:990::/:/bin/false >> /etc/passwd && "
                  f"echo tulle-proxy:x:991:991::/:/bin/false >> /etc/passwd && ip link set lo up && echo up && "
                  f"exec sleep infinity")
        self.init = Process("unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", script,
                            log=self.logs / "init.log")
        wait_until(lambda: "up" in self.init.log(), f"the machine {name}")
        network.plug(self)

    def enter(self):
        return ["nsenter", "-t", str(self.init.pid), "--net", "--mount"]

    def run(self, *args, timeout_s=HANG_S, env=None, stdin=""):
        return run(*self.enter(), *args, timeout_s=timeout_s, env=env, stdin=stdin)

    def start(self, name, *args, env=None):
        process = Process(*self.enter(), *args, log=self.logs / f"{name}.log", env=env)
        self.processes.append(process)
        return process

    def tulle(self, *args, **more):
        return self.run(programs_folder() / "tulle", *args, **more)

    def stop(self):
        for process in self.processes:
            process.stop()
        self.init.signal(signal.SIGKILL)
        self.init.wait()


class Network:
    """A link that its machines share. A context manager."""

    def __init__(self, logs):
        self.logs, self.gateway, self.hosts = Path(logs), "10.99.0.254", []
        self.switch = Process("unshare", "--net", "sh", "-c",
                              f"ip link add br0 type bridge && ip addr add {self.gateway}/24 dev br0 && "
                              f"ip link set br0 up && ip link set lo up && echo up && exec sleep infinity",
                              log=self.logs / "switch.log")
        wait_until(lambda: "up" in self.switch.log(), "the link")

    def plug(self, host):
        """A pair of links, made in the switch's namespace, one end moved into the host's."""
        n = f"v{len(self.hosts)}"
        inside = ["nsenter", "-t", str(self.switch.pid), "--net"]
        run(*inside, "ip", "link", "add", n, "type", "veth", "peer", "name", "eth0", "netns", str(host.init.pid)).ok()
        run(*inside, "ip", "link", "set", n, "master", "br0", "up").ok()
        host.run("ip", "addr", "add", f"{host.address}/24", "dev", "eth0").ok()
        host.run("ip", "link", "set", "eth0", "up").ok()
        host.run("ip", "route", "add", "default", "via", self.gateway).ok()

    def host(self, name):
        host = Host(self, name, len(self.hosts) + 1)
        self.hosts.append(host)
        return host

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        for host in reversed(self.hosts):
            host.stop()
        os.kill(self.switch.pid, signal.SIGKILL)
        self.switch.wait()
