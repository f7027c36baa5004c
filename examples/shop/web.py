"""The shop's front: one page, and a path for each of the services behind it."""
import html
import os
import socket
import threading

import shop
from inventory_wire import decode, encode

CATALOG = os.environ.get("CATALOG_URL", "http://catalog.shop.svc.cluster.local:8080")
ORDERS = os.environ.get("ORDERS_URL", "http://orders.shop.svc.cluster.local:8080")
PAYMENT = os.environ.get("PAYMENT_URL", "http://payment.shop.svc.cluster.local:8080")
INVENTORY = os.environ.get("INVENTORY", "inventory.shop.svc.cluster.local:9090")
CART = os.environ.get("CART", "cart.shop.svc.cluster.local:6379")


class Stock:
    """The gRPC channel; made at first use, because loading the library takes longer than starting."""
    lock = threading.Lock()
    channel = None

    @classmethod
    def call(cls, sku, metadata):
        import grpc
        with cls.lock:
            if cls.channel is None:
                cls.channel = grpc.insecure_channel(INVENTORY)
        method = cls.channel.unary_unary("/shop.Inventory/Stock", encode, decode)
        try:
            return 200, method({"sku": sku}, metadata=metadata, timeout=5)
        except grpc.RpcError as e:
            return 502, {"error": e.details(), "grpc": e.code().name}


def redis(*words):
    """One command to the cart's Redis; its answer as text or number."""
    host, port = CART.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=5) as s, s.makefile("rwb") as f:
        f.write(b"*%d\r\n" % len(words))
        for word in words:
            raw = str(word).encode()
            f.write(b"$%d\r\n%s\r\n" % (len(raw), raw))
        f.flush()
        return redis_answer(f)


def redis_answer(f):
    line = f.readline().strip()
    kind, rest = line[:1], line[1:]
    if kind == b"$":
        return None if rest == b"-1" else f.read(int(rest) + 2)[:-2].decode()
    if kind == b"*":
        return [redis_answer(f) for _ in range(int(rest))]
    if kind == b"-":
        raise OSError(rest.decode())
    if kind == b":":
        return int(rest)
    return rest.decode()


def forward(h, url):
    status, headers, body = shop.call(url, h.propagated())
    if status == 0:
        return h.reply(502, {"error": body.decode()})
    kept = [(k, v) for k, v in headers.items() if k.lower() in ("x-version", "x-tulle-origin")]
    return h.reply(status, body, headers.get("content-type", "text/plain"), kept)


def product(h, sku, _query):
    forward(h, f"{CATALOG}/products/{sku}")


def order(h, _rest, query):
    forward(h, f"{ORDERS}/order?sku={query.get('sku', 'scarf-1')}")


def pay(h, _rest, query):
    """Straight to payment, past orders: the mesh refuses it."""
    forward(h, f"{PAYMENT}/charge?cents={int(query.get('cents', '1'))}")


def stock(h, sku, _query):
    status, answer = Stock.call(sku, list(h.propagated().items()))
    h.reply(status, answer)


def cart(h, sku, _query):
    try:
        if h.command == "POST":
            redis("RPUSH", "cart", sku)
        h.reply(200, {"cart": redis("LRANGE", "cart", 0, -1)})
    except OSError as e:
        h.reply(502, {"error": str(e)})


def page(h, _rest, _query):
    status, _, body = shop.call(f"{CATALOG}/products/scarf-1", h.propagated())
    order_status, _, order_body = shop.call(f"{ORDERS}/order?sku=scarf-1", h.propagated())
    h.reply(200, f"""<!doctype html><title>The shop</title><h1>The shop</h1>
<p>Catalog ({status}): <code>{html.escape(body.decode(errors='replace'))}</code></p>
<p>Order ({order_status}): <code>{html.escape(order_body.decode(errors='replace'))}</code></p>
<p>Served by {html.escape(shop.REPLICA)}.</p>
""", "text/html; charset=utf-8")


shop.serve({"/": page, "/products/": product, "/order": order, "/pay": pay, "/stock/": stock,
            "/cart/": cart})
