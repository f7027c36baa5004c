"""WebSocket with Debian's python3-websockets on both sides: a server in a thread, and clients.

    with WebSocketServer() as ws:
        assert talk(port, echo_one("hello")) == "hello"
"""
import asyncio
import threading

import websockets

MESSAGE_MAX = 64 << 20


async def echo(connection):
    """Each message comes back as it is; "close CODE" closes by that code."""
    async for message in connection:
        if isinstance(message, str) and message.startswith("close "):
            await connection.close(int(message.split()[1]), "as told")
            return
        await connection.send(message)


class WebSocketServer:
    def __init__(self, handle=echo):
        self.handle, self.paths, self.headers = handle, [], []
        self.loop = asyncio.new_event_loop()
        self.stopped = self.server = None
        started = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self.thread.start()
        assert started.wait(20)

    def _run(self, started):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._serve(started))

    async def _serve(self, started):
        self.stopped = asyncio.Event()
        async with websockets.serve(self._talk, "127.0.0.1", 0, max_size=MESSAGE_MAX,
                                    ping_interval=None, compression=None) as server:
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            await self.stopped.wait()

    async def _talk(self, connection):
        self.paths.append(connection.path)
        self.headers.append(connection.request_headers)
        await self.handle(connection)

    def stop(self):
        self.loop.call_soon_threadsafe(self.stopped.set)
        self.thread.join(20)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.stop()


def talk(port, conversation, path="/", scheme="ws", **more):
    """Runs conversation(connection) on a connection of its own; its result."""
    async def run():
        async with websockets.connect(f"{scheme}://localhost:{port}{path}", max_size=MESSAGE_MAX,
                                      ping_interval=None, compression=None, **more) as connection:
            return await asyncio.wait_for(conversation(connection), 60)
    return asyncio.run(run())


def echo_one(message):
    async def conversation(connection):
        await connection.send(message)
        return await connection.recv()
    return conversation
