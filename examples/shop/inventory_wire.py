"""inventory.proto by hand: two messages of the protobuf wire format, without generated code."""


def _varint(n):
    out = bytearray()
    while True:
        byte, n = n & 0x7F, n >> 7
        out.append(byte | (0x80 if n else 0))
        if not n:
            return bytes(out)


def _read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def encode(message):
    """{"sku": str, "count": int, "replica": str} -> bytes; what is missing or empty is left out."""
    out = b""
    for number, name in ((1, "sku"), (3, "replica")):
        if message.get(name):
            raw = message[name].encode()
            out += bytes([number << 3 | 2]) + _varint(len(raw)) + raw
    if message.get("count"):
        out += bytes([2 << 3]) + _varint(message["count"])
    return out


def decode(data):
    message = {"sku": "", "count": 0, "replica": ""}
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        value, at = _read_varint(data, at)
        if key & 7 == 2:
            raw, at = data[at:at + value], at + value
            value = raw.decode()
        name = {1: "sku", 2: "count", 3: "replica"}.get(key >> 3)
        if name:
            message[name] = value
    return message
