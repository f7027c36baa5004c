"""A server of gRPC that answers every method with what it saw.

    server.py NAME ADDRESS:PORT [KEY CHAIN ROOTS]

With files it speaks TLS and asks for the client's certificate. Metadata of a call that it follows:
x-fail-times: so many calls with this x-call fail (UNAVAILABLE) before one is answered; x-sleep-s."""
import collections
import concurrent.futures
import json
import sys
import threading
import time

import grpc


class Anything(grpc.GenericRpcHandler):
    def __init__(self, name):
        self.name, self.seen, self.lock = name, collections.Counter(), threading.Lock()

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda _request, context: self.answer(details, context))

    def is_to_fail(self, metadata):
        with self.lock:
            self.seen[metadata.get("x-call")] += 1
            return self.seen[metadata.get("x-call")] <= int(metadata.get("x-fail-times", 0))

    def answer(self, details, context):
        metadata = {k: v for k, v in context.invocation_metadata() if isinstance(v, str)}
        time.sleep(float(metadata.get("x-sleep-s", 0)))
        if self.is_to_fail(metadata):
            context.abort(grpc.StatusCode.UNAVAILABLE, "as asked")
        peer = [i.decode() for i in context.auth_context().get("x509_subject_alternative_name", [])]
        return json.dumps({"server": self.name, "method": details.method, "metadata": metadata,
                           "peer": peer}).encode()


def main():
    name, address, *files = sys.argv[1:]
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((Anything(name),))
    if files:
        key, chain, roots = (open(f, "rb").read() for f in files)
        port = server.add_secure_port(address, grpc.ssl_server_credentials(
            [(key, chain)], roots, require_client_auth=True))
    else:
        port = server.add_insecure_port(address)
    assert port, address
    server.start()
    server.wait_for_termination()


main()
