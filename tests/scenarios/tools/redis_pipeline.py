"""A thousand commands to Redis in one go, from a replica: redis_pipeline.py HOST PORT COUNT."""
import json
import socket
import sys

host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with socket.create_connection((host, port), timeout=20) as s:
    s.sendall(b"DEL pipelined\r\n" + b"INCR pipelined\r\n" * count)
    f = s.makefile("rb")
    f.readline()
    answers = [f.readline().strip() for _ in range(count)]
print(json.dumps({"count": len(answers), "isInOrder": answers == [b":%d" % n for n in range(1, count + 1)]}))
