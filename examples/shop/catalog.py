"""The catalog: products by their number. VERSION tells v1 from v2 in the answers."""
import os
import zlib

import shop

VERSION = os.environ.get("VERSION", "v1")
WORDS = ("linen", "silk", "wool", "cotton", "velvet", "tulle")


def product(h, sku, _query):
    if not sku or "/" in sku:
        return h.reply(404, {"error": "no such product"})
    seed = zlib.crc32(sku.encode())
    return h.reply(200, {
        "sku": sku, "name": f"{WORDS[seed % len(WORDS)]} scarf", "priceCents": 500 + seed % 9500,
        "version": VERSION, "replica": shop.REPLICA, "address": shop.ADDRESS,
        "requestId": h.headers.get("x-request-id", "")}, headers=[("x-version", VERSION)])


def products(h, _rest, _query):
    h.reply(200, {"products": [f"scarf-{n}" for n in range(1, 6)], "version": VERSION,
                  "replica": shop.REPLICA})


shop.serve({"/products": products, "/products/": product})
