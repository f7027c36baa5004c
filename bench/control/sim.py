"""The process of simulated proxies: commands in, lines of JSON out."""
import json
import queue
import subprocess
import threading
import time

ANSWER_S = 600


class Sim:
    def __init__(self, program, folder, lines):
        path = folder / "world"
        path.write_text("\n".join(lines) + "\n")
        self.process = subprocess.Popen([str(program), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=open(folder / "proxies.log", "w", encoding="utf-8"), text=True)
        self.log = folder / "proxies.log"
        self.answers, self.events = queue.SimpleQueue(), queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self._take(self.answers)

    def _read(self):
        for line in self.process.stdout:
            answer = json.loads(line)
            (self.events if "event" in answer else self.answers).put(answer)
        for q in (self.answers, self.events):
            q.put(None)

    def _take(self, q, timeout_s=ANSWER_S):
        answer = q.get(timeout=timeout_s)
        if answer is None:
            raise RuntimeError(f"the proxies ended: {self.log.read_text()[-2000:]}")
        return answer

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def ask(self, *words):
        self.tell(*words)
        return self._take(self.answers)

    def event(self, name, timeout_s=ANSWER_S):
        answer = self._take(self.events, timeout_s)
        assert answer["event"] == name, answer
        return answer

    def stats(self):
        return self.ask("stats")

    def wait(self, condition, timeout_s, every_s=0.1):
        """Until stats fulfil it; those, and how long it took."""
        start = time.monotonic()
        while True:
            stats = self.stats()
            if condition(stats):
                return stats, time.monotonic() - start
            if time.monotonic() - start > timeout_s:
                raise RuntimeError(f"not within {timeout_s} s: {stats}")
            time.sleep(every_s)

    def stop(self):
        if self.process.poll() is None:
            self.tell("quit")
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
