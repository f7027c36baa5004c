"""The load generators: each returns {"requests": done, "rate": requests/s, ...} or raises.

A request that failed or was not answered 2xx makes the whole run an error: no figure comes of it."""
import json
import re
import subprocess

from lib.programs import TOP

FORTIO = TOP / "build/bench/fortio"
CLIENT = TOP / "build/bench/client"


class LoadError(Exception):
    pass


def _run(command, cpus, seconds):
    pin = ["taskset", "-c", ",".join(map(str, cpus))] if cpus else []
    try:
        done = subprocess.run([*pin, *map(str, command)], capture_output=True, text=True, timeout=seconds * 2 + 30,
                              stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired:
        raise LoadError(f"{command[0]} does not end") from None
    if done.returncode != 0:
        raise LoadError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def _number(pattern, text):
    found = re.search(pattern, text)
    if not found:
        raise LoadError(f"no {pattern} in:\n{text}")
    return float(found[1])


def wrk(url, connections, seconds, cpus=(), script=None, close=False):
    """HTTP/1, as fast as it goes, one thread."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    command += ["-H", "Connection: close"] if close else []
    command += ["-s", script] if script else []
    return wrk_result(_run([*command, url], cpus, seconds))


def wrk_result(out):
    """Of what wrk has printed."""
    if "Non-2xx" in out or "Socket errors" in out:
        raise LoadError(out)
    return {"requests": _number(r"(\d+) requests in", out), "rate": _number(r"Requests/sec:\s+([\d.]+)", out)}


def h2load(url, connections, streams, cpus=(), seconds=0, requests=0, is_http1=False):
    """HTTP/2 over TLS (or HTTP/1): for some seconds, or so many requests."""
    command = ["h2load", f"-c{connections}", f"-m{streams}"]
    command += ["-D", seconds] if seconds else ["-n", int(requests)]
    command += ["--h1"] if is_http1 else []
    out = _run([*command, url], cpus, seconds or 60)
    ok, done = _number(r"(\d+) 2xx", out), _number(r"requests: .* (\d+) done", out)
    failed = _number(r"(\d+) failed", out) + _number(r"(\d+) errored", out) + _number(r"(\d+) timeout", out)
    if failed or ok < done or not done or (requests and done != requests):
        raise LoadError(f"{url}: not all answered\n{out}")
    return {"requests": done, "rate": _number(r"([\d.]+) req/s", out)}


def fortio(url, connections, seconds, cpus=(), rate=0):
    """At a fixed rate (0: as fast as it goes); latencies in µs. The clients start spread over the period, and a
    late answer does not make the following ones come closer together."""
    out = _run([FORTIO, "load", "-quiet", "-allow-initial-errors", "-qps", rate, "-c", connections,
                "-t", f"{seconds}s", "-uniform", "-nocatchup", "-r", "0.00001", "-p", "50,99,99.9", "-json", "-",
                url], cpus, seconds)
    return _fortio_result(out, "200")


def fortio_grpc(address, connections, streams, seconds, cpus=()):
    """Unary gRPC calls, as fast as it goes."""
    out = _run([FORTIO, "load", "-quiet", "-grpc", "-ping", "-qps", "0", "-c", connections, "-s", streams,
                "-t", f"{seconds}s", "-r", "0.00001", "-p", "50,99,99.9", "-json", "-", address], cpus, seconds)
    return _fortio_result(out, "SERVING")


def _fortio_result(out, good):
    result = json.loads(out[out.index("{"):])
    count = result["DurationHistogram"]["Count"]
    if not count or result["RetCodes"].get(good, 0) != count:
        raise LoadError(f"not all answered: {result['RetCodes']}")
    percentiles = {p["Percentile"]: p["Value"] * 1e6 for p in result["DurationHistogram"]["Percentiles"]}
    return {"requests": count, "rate": result["ActualQPS"], "p50_us": percentiles[50], "p99_us": percentiles[99],
            "p999_us": percentiles[99.9]}


def handshakes(kind, port, seconds, cpus=()):
    """One TLS connection after another, `full` or `resumed`."""
    out = _run([CLIENT, "handshakes", port, kind, seconds], cpus, seconds)
    return json.loads(out)
