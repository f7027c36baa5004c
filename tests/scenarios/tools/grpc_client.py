"""A gRPC client of the shop's inventory, in a replica; what it got as JSON.

  grpc_client.py TARGET stock SKU | watch SKU COUNT [FILE] | reserve SKU... | fail

`watch` writes FILE once the stream has brought its first item.
"""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples/shop"))

import grpc  # noqa: E402
from inventory_wire import decode, encode  # noqa: E402


def metadata(pairs):
    return {k: v for k, v in pairs or () if isinstance(v, str)}


def main():
    target, what, *args = sys.argv[1:]
    out = {"code": "OK", "items": [], "trailers": {}}
    with grpc.insecure_channel(target) as channel:
        try:
            if what in ("stock", "fail"):
                sku = args[0] if args else "out-of-order"
                item, call = channel.unary_unary("/shop.Inventory/Stock", encode, decode).with_call(
                    {"sku": sku}, timeout=30)
                out["items"].append(item)
                out["trailers"] = metadata(call.trailing_metadata())
            elif what == "watch":
                call = channel.unary_stream("/shop.Inventory/Watch", encode, decode)(
                    {"sku": args[0], "count": int(args[1])}, timeout=120)
                for item in call:
                    out["items"].append(item)
                    if args[2:] and len(out["items"]) == 1:
                        Path(args[2]).write_text("open", encoding="ascii")
            else:
                call = channel.stream_stream("/shop.Inventory/Reserve", encode, decode)(
                    ({"sku": sku} for sku in args), timeout=30)
                out["items"] = list(call)
        except grpc.RpcError as e:
            out["code"], out["details"] = e.code().name, e.details()
            out["trailers"] = metadata(e.trailing_metadata() or ()) | metadata(e.initial_metadata() or ())
    print(json.dumps(out))


main()
