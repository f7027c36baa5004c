"""The inventory: a gRPC server with unary, server-streaming and bidirectional methods."""
import os
import time
import zlib
from concurrent import futures

import grpc

import shop
from inventory_wire import decode, encode

FAIL_SKU = "out-of-order"


def count_of(sku):
    return zlib.crc32(sku.encode()) % 90 + 10


def item(sku, count):
    return {"sku": sku, "count": count, "replica": shop.REPLICA}


def stock(request, context):
    shop.log(method="Stock", sku=request["sku"])
    context.set_trailing_metadata((("x-replica", shop.REPLICA),))
    if request["sku"] == FAIL_SKU:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "out of order")
    return item(request["sku"], count_of(request["sku"]))


def watch(request, context):
    """`count` updates, 20 ms apart."""
    shop.log(method="Watch", sku=request["sku"])
    for n in range(request["count"]):
        if not context.is_active():
            return
        yield item(request["sku"], n + 1)
        time.sleep(0.02)


def reserve(requests, _context):
    shop.log(method="Reserve")
    for request in requests:
        yield item(request["sku"], count_of(request["sku"]))


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    methods = {
        "Stock": grpc.unary_unary_rpc_method_handler(stock, decode, encode),
        "Watch": grpc.unary_stream_rpc_method_handler(watch, decode, encode),
        "Reserve": grpc.stream_stream_rpc_method_handler(reserve, decode, encode),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Inventory", methods),))
    port = int(os.environ.get("PORT", "9090"))
    if server.add_insecure_port(f"[::]:{port}") == 0:
        server.add_insecure_port(f"0.0.0.0:{port}")
    server.start()
    shop.log(listening=port, replica=shop.REPLICA)
    server.wait_for_termination()


main()
