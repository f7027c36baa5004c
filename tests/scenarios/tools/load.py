"""Calls a URL at a rate for a while, from inside a replica; a summary as JSON.

  load.py URL [--seconds S | --count N] [--rate R] [--threads N] [--header K:V]... [--series FIELD]
          [--new-connections] [--until-file PATH]

The summary: calls, statuses {"200": n}, failures (no answer, or 5xx), versions and replicas as the
catalog tells them, p50Ms, p99Ms, errors (a few). With --series, the value of that field of the JSON
answer by the time of each call."""
import argparse
import collections
import http.client
import json
import os
import threading
import time
import urllib.parse


class Load:
    def __init__(self, args):
        self.args = args
        self.url = urllib.parse.urlsplit(args.url)
        self.headers = dict(h.split(":", 1) for h in args.header)
        self.lock = threading.Lock()
        self.next_number, self.start = 0, time.monotonic()
        self.statuses, self.versions, self.replicas = (collections.Counter() for _ in range(3))
        self.times, self.errors, self.series = [], [], []

    def take(self):
        """The number of the next call, or None when it is over."""
        with self.lock:
            n = self.next_number
            if self.args.count and n >= self.args.count:
                return None
            if not self.args.count and time.monotonic() - self.start > self.args.seconds:
                return None
            if self.args.until_file and os.path.exists(self.args.until_file):
                return None
            self.next_number += 1
        if self.args.rate:
            due = self.start + n / self.args.rate
            time.sleep(max(0, due - time.monotonic()))
        return n

    def connect(self):
        return http.client.HTTPConnection(self.url.hostname, self.url.port or 80,
                                          timeout=self.args.timeout)

    def call(self, connection):
        path = self.url.path + ("?" + self.url.query if self.url.query else "")
        connection.request(self.args.method, path or "/", headers=self.headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.getheader("connection", "")

    def note(self, status, body, begun, error=None):
        try:
            fields = json.loads(body) if body else {}
        except ValueError:
            fields = {}
        if not isinstance(fields, dict):
            fields = {}
        with self.lock:
            self.statuses[str(status)] += 1
            self.times.append(time.monotonic() - begun)
            for counter, field in ((self.versions, "version"), (self.replicas, "address")):
                if field in fields:
                    counter[str(fields[field])] += 1
            if self.args.series and self.args.series in fields:
                self.series.append([round(time.time(), 4), fields[self.args.series]])
            if (error or status >= 500) and len(self.errors) < 5:
                self.errors.append(error or body.decode(errors="replace")[:200])

    def work(self):
        connection = self.connect()
        while self.take() is not None:
            begun = time.monotonic()
            try:
                status, body, connection_header = self.call(connection)
                self.note(status, body, begun)
                if connection_header.lower() == "close" or self.args.new_connections:
                    connection.close()
            except (OSError, http.client.HTTPException) as e:
                self.note(0, b"", begun, f"{type(e).__name__}: {e}")
                connection.close()
                connection = self.connect()

    def run(self):
        threads = [threading.Thread(target=self.work) for _ in range(self.args.threads)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        times = sorted(self.times) or [0]
        seconds = time.monotonic() - self.start
        failures = sum(n for s, n in self.statuses.items() if s == "0" or s >= "500")
        return {"calls": sum(self.statuses.values()), "seconds": round(seconds, 3),
                "rate": round(sum(self.statuses.values()) / max(seconds, 1e-9), 1),
                "statuses": self.statuses, "failures": failures, "versions": self.versions,
                "replicas": self.replicas, "errors": self.errors, "series": self.series,
                "p50Ms": round(times[len(times) // 2] * 1000, 2),
                "p99Ms": round(times[int(len(times) * 0.99)] * 1000, 2)}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("url")
    p.add_argument("--seconds", type=float, default=5)
    p.add_argument("--count", type=int, default=0)
    p.add_argument("--rate", type=float, default=0)
    p.add_argument("--threads", type=int, default=4)
    p.add_argument("--method", default="GET")
    p.add_argument("--timeout", type=float, default=20)
    p.add_argument("--header", action="append", default=[])
    p.add_argument("--series")
    p.add_argument("--new-connections", action="store_true")
    p.add_argument("--until-file")
    p.add_argument("--output")
    args = p.parse_args()
    summary = json.dumps(Load(args).run())
    if args.output:
        with open(args.output + ".part", "w", encoding="utf-8") as f:
            f.write(summary)
        os.rename(args.output + ".part", args.output)
    print(summary)


main()
