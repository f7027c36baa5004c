"""The scenarios: which subjects, which hops between the load and the app, which load.

A subject is a kind of proxy, with a variant behind the slash: what is spoken between the two proxies
of a pair (h1, h2), or whether the access log is on (log)."""
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import load
from hops import can, Hop

UPLOAD = Path(__file__).with_name("upload.lua")


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    subjects: tuple
    hops: callable                # variant -> the options of each hop, from the client to the app
    cases: dict                   # name -> f(port, seconds, cpus) that loads
    app: str = "http"
    weight: float = 0.5           # of --secs, for one figure
    counts_system_calls: bool = False


def wrk_cases(*connections, path="/", **more):
    def case(count):
        return lambda port, seconds, cpus: load.wrk(f"http://127.0.0.1:{port}{path}", count, seconds, cpus, **more)
    return {f"c{count}": case(count) for count in connections}


def h2_case(port, seconds, cpus):
    return load.h2load(f"https://127.0.0.1:{port}/", 16, 16, cpus, seconds=seconds)


def grpc_case(port, seconds, cpus):
    return load.fortio_grpc(f"127.0.0.1:{port}", 4, 4, seconds, cpus)


def rate_case(port, seconds, cpus):
    return load.fortio(f"http://127.0.0.1:{port}/", 16, seconds, cpus, rate=1000)


def one(**options):
    return lambda _variant: [options]


def pair(variant, policy=False, **more):
    is_h2 = "h1" not in variant
    log = "/dev/null" if "log" in variant else ""
    return [{"tls_out": True, "h2_out": is_h2, "log": log, **more},
            {"tls_in": "mutual", "h2_in": is_h2, "log": log, "has_policy": policy}]


def tcp_pair(variant):
    how = {"is_tcp": True, "tunnel": variant or "mesh"}
    return [{**how, "tls_out": True}, {**how, "tls_in": "mutual"}]


ALL = ("direct", "relay", "tulle", "haproxy", "nginx", "envoy")
TCP_PAIRS = ("tulle", "tulle/plain", "tulle/connect", "haproxy", "envoy", "envoy/connect")
PAIRS = ("tulle/h2", "tulle/h1", "haproxy/h2", "haproxy/h1", "nginx/h1", "envoy/h2", "envoy/h1")

SCENARIOS = {s.name: s for s in (
    Scenario("http1", "HTTP/1 on both sides, answers of 100 bytes", ALL, one(), wrk_cases(1, 4, 32, 128),
             weight=1, counts_system_calls=True),
    Scenario("pair", "plain -> mutual TLS -> plain through two proxies, the sum of both", PAIRS, pair,
             wrk_cases(1, 4, 32), weight=1, counts_system_calls=True),
    Scenario("sidecar", "pair over HTTP/2 with authorization and metrics, access log off or on",
             ("tulle/h2", "tulle/log", "envoy/h2", "envoy/log"), partial(pair, policy=True), wrk_cases(1, 32),
             counts_system_calls=True),
    Scenario("latency", "pair at 1,000 requests/s, fixed rate, 16 connections", ("direct", *PAIRS), pair,
             {"c16": rate_case}, weight=2),
    Scenario("l4", "bytes only", ("relay", "tulle", "haproxy", "envoy"), one(is_tcp=True), wrk_cases(32),
             counts_system_calls=True),
    Scenario("l4-mtls", "bytes only, plain -> mutual TLS -> plain", TCP_PAIRS, tcp_pair, wrk_cases(1, 32),
             counts_system_calls=True),
    Scenario("l4-mtls-100k", "as l4-mtls, answers of 100 KiB", TCP_PAIRS, tcp_pair, wrk_cases(1, 32, path="/100k")),
    Scenario("connect", "pair, a new client connection for each request", PAIRS, pair,
             wrk_cases(32, close=True)),
    Scenario("connect-l4", "l4-mtls, a new client connection for each request", TCP_PAIRS,
             tcp_pair, wrk_cases(32, close=True)),
    Scenario("pair-100", "pair, an upstream connection ends after 100 requests", PAIRS,
             partial(pair, upstream_requests_max=100), wrk_cases(32)),
    Scenario("handshakes", "a TLS connection for each request", ("tulle", "haproxy", "nginx", "envoy"),
             one(tls_in="server"),
             {kind: partial(load.handshakes, kind) for kind in ("full", "resumed")}),
    Scenario("h2", "TLS with HTTP/2, 16 connections with 16 streams; HTTP/1 to the app",
             ("tulle", "haproxy", "nginx", "envoy"), one(tls_in="server", h2_in=True), {"c16m16": h2_case}),
    Scenario("grpc", "unary gRPC on both sides, 4 connections with 4 calls at a time",
             ("direct", "tulle", "haproxy", "nginx", "envoy"), one(h2_in=True, h2_out=True),
             {"c4m4": grpc_case}, app="grpc"),
    Scenario("http1-100k", "as http1, answers of 100 KiB", ALL, one(), wrk_cases(32, path="/100k")),
    Scenario("upload", "as http1, requests of 100 KiB", ALL, one(), wrk_cases(32, script=UPLOAD)),
)}


def kind_of(subject):
    return subject.partition("/")[0]


def subjects_of(scenario, kinds):
    """Those of a scenario whose kind was asked for and that can do what it wants."""
    def is_able(subject):
        kind, _, variant = subject.partition("/")
        return kind == "direct" or all(can(kind, Hop(0, 0, **options)) for options in scenario.hops(variant))
    return [s for s in scenario.subjects if kind_of(s) in kinds and is_able(s)]
