"""A client of gRPC in Python, of a target such as xds:///HOST:PORT.

    client.py TARGET plain|xds

`xds`: credentials as the control plane says, by the bootstrap's certificate providers; else in clear. A
line of standard input is a JSON object: {"count": calls, "method": path, "headers": {}, "timeout_s": of
each}; the answer is one, too: {"codes": {name: count}, "servers": {name: count}, "last": {...}, "error":
of the last that failed}. client.js and ../grpc-client do the same."""
import collections
import json
import sys

import grpc
import grpc.experimental


def ask(call, question):
    codes, servers, last, error = collections.Counter(), collections.Counter(), None, ""
    metadata = tuple(question.get("headers", {}).items())
    for _ in range(question.get("count", 1)):
        try:
            last = json.loads(call(b"", metadata=metadata, timeout=question.get("timeout_s", 20)))
            codes["OK"] += 1
            servers[last["server"]] += 1
        except grpc.RpcError as e:
            codes[e.code().name] += 1
            error = e.details()
    return {"codes": codes, "servers": servers, "last": last, "error": error}


def main():
    target, security = sys.argv[1:]
    if security == "xds":
        channel = grpc.secure_channel(
            target, grpc.xds_channel_credentials(grpc.experimental.insecure_channel_credentials()))
    else:
        channel = grpc.insecure_channel(target)
    for line in sys.stdin:
        question = json.loads(line)
        call = channel.unary_unary(question.get("method", "/shop.Catalog/Get"))
        print(json.dumps(ask(call, question)), flush=True)


main()
