"""Runs a scenario: all subjects are up, and take turns, so that what the machine does besides hits all alike."""
import signal
import subprocess
import time

from load import LoadError
from scenarios import subjects_of

SYSCALL_SECONDS = 1


def measured(case, chain, seconds, cpus):
    before = chain.cpu_ns()
    result = case(chain.port, seconds, cpus)
    spent = chain.cpu_ns() - before
    if chain.processes:
        result["cpu_us"] = spent / 1000 / result["requests"]
    return result


def system_calls(case, chain, cpus):
    """System calls per request, the sum of the chain's processes, counted by the kernel's tracepoint; None
    where perf may not, or there is no process."""
    pids = [pid for process in chain.processes for pid in process.pids()]
    if not pids:
        return None
    counter = subprocess.Popen(["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p",
                                ",".join(map(str, pids))],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(0.2)
    try:
        done = case(chain.port, SYSCALL_SECONDS, cpus)
    finally:
        counter.send_signal(signal.SIGINT)
        _, text = counter.communicate(timeout=20)
    count = text.partition(",")[0]
    return {"syscalls": int(count) / done["requests"]} if count.isdigit() else None


class Results:
    """All figures: cell (scenario, case, subject) -> metric -> values, one for each run."""

    def __init__(self):
        self.cells = {}

    def add(self, scenario, case, subject, figures):
        cell = self.cells.setdefault((scenario, case, subject), {})
        for name, value in figures.items():
            cell.setdefault(name, []).append(value)

    def drop(self, scenario, subject):
        self.cells = {key: cell for key, cell in self.cells.items() if (key[0], key[2]) != (scenario, subject)}


class Turns:
    """A scenario under way. A subject that fails once is out, with what it failed at; the others go on."""

    def __init__(self, stage, scenario, args, results):
        self.stage, self.scenario, self.args, self.results = stage, scenario, args, results
        self.chains, self.errors = {}, []

    def attempt(self, subject, act):
        try:
            return act()
        except (LoadError, RuntimeError) as e:
            self.errors.append(f"{self.scenario.name}: {subject}: {e}")
            self.results.drop(self.scenario.name, subject)
            if subject in self.chains:
                self.chains.pop(subject).stop()
            return None

    def start(self):
        for subject in subjects_of(self.scenario, self.args.kinds):
            options = self.scenario.hops(subject.partition("/")[2])
            chain = self.attempt(subject, lambda: self.stage.chain(subject, options, self.scenario.app))
            if chain:
                self.chains[subject] = chain

    def each(self, cases, act):
        """act(name, case, chain) gives figures, for every case of every subject."""
        for name, case in cases.items():
            for subject, chain in list(self.chains.items()):
                figures = self.attempt(subject, lambda: act(case, chain))
                if figures:
                    self.results.add(self.scenario.name, name, subject, figures)

    def stop(self):
        for chain in self.chains.values():
            chain.stop()


def run_turns(stage, scenario, args, results):
    """Every case of every subject, args.runs times; what subjects failed at."""
    cases, seconds, cpus = scenario.cases, max(1, int(args.secs * scenario.weight)), stage.load_cpus
    if args.quick:
        cases, seconds = dict(list(cases.items())[-1:]), 1
    turns = Turns(stage, scenario, args, results)
    try:
        turns.start()
        if not args.quick:
            first = next(iter(cases.values()))
            turns.each({"warm-up": first}, lambda case, chain: case(chain.port, 1, cpus) and None)
        for _ in range(args.runs):
            turns.each(cases, lambda case, chain: measured(case, chain, seconds, cpus))
        if args.system_calls and scenario.counts_system_calls:
            turns.each(cases, lambda case, chain: system_calls(case, chain, cpus))
    finally:
        turns.stop()
    return turns.errors
