"""Makes a thread of a running program call the kernel, as code of an intruder in it would: by ptrace, which root
may from outside. x86-64 only. The thread goes on afterwards as if nothing had been."""
import ctypes
import errno
import functools
import os
import platform
import subprocess
import time
from pathlib import Path

NR = {"open": 2, "mmap": 9, "mprotect": 10, "socket": 41, "bind": 49, "listen": 50, "clone": 56, "fork": 57,
      "execve": 59, "kill": 62, "ptrace": 101, "unshare": 272, "io_uring_setup": 425, "getpid": 39, "close": 3,
      "rename": 82, "unlink": 87}
PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_SINGLESTEP = 12, 13, 9
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000
RED_ZONE = 4096


class Regs(ctypes.Structure):
    _fields_ = [(n, ctypes.c_ulonglong) for n in
                "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base "
                "gs_base ds es fs gs".split()]


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request, tid, data=None):
    if _libc.ptrace(request, tid, None, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request} of {tid}")


def threads(pid):
    """{name: [tid, ...]}; the main thread is the first of its name."""
    found = {}
    for task in sorted(int(t.name) for t in Path(f"/proc/{pid}/task").iterdir()):
        name = Path(f"/proc/{pid}/task/{task}/comm").read_text().strip()
        found.setdefault(name, []).append(task)
    return found


def _find_syscall(pid):
    """Where the C library has the instruction."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
        for line in maps:
            fields = line.split()
            if "x" not in fields[1] or "libc" not in line:
                continue
            start, end = (int(n, 16) for n in fields[0].split("-"))
            mem.seek(start)
            at = mem.read(end - start).find(b"\x0f\x05")
            if at >= 0:
                return start + at
    raise AssertionError("no syscall instruction")


@functools.cache
def is_possible():
    """x86-64, and root that may trace (a container's root often may not)."""
    if platform.machine() != "x86_64" or os.geteuid() != 0:
        return False
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            _ptrace(PTRACE_SEIZE, child.pid)
            _ptrace(PTRACE_INTERRUPT, child.pid)
            os.waitpid(child.pid, WALL)
            _ptrace(PTRACE_DETACH, child.pid)
            return True
        except OSError:
            return False
        finally:
            child.kill()


class Intruder:
    """Code in a thread: with Intruder(pid, tid) as code: code.call("open", b"/etc/passwd", 0)."""

    def __init__(self, pid, tid=None):
        self.pid, self.tid = pid, tid or pid
        self.at = _find_syscall(pid)
        self.saved = Regs()

    def _wait(self):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            got, status = os.waitpid(self.tid, WALL | os.WNOHANG)
            if got:
                assert os.WIFSTOPPED(status), status
                return
            time.sleep(0.001)
        raise AssertionError("the thread does not stop")

    def __enter__(self):
        _ptrace(PTRACE_SEIZE, self.tid)
        _ptrace(PTRACE_INTERRUPT, self.tid)
        self._wait()
        _ptrace(PTRACE_GETREGS, self.tid, ctypes.byref(self.saved))
        return self

    def __exit__(self, *_exc):
        _ptrace(PTRACE_SETREGS, self.tid, ctypes.byref(self.saved))
        _ptrace(PTRACE_DETACH, self.tid)

    def call(self, name, *args):
        """What the kernel answers: a number, or the name of the error."""
        regs = Regs.from_buffer_copy(self.saved)
        free = (self.saved.rsp - RED_ZONE) & ~15
        values = []
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as mem:
            for arg in args:
                if isinstance(arg, bytes):
                    free = (free - len(arg) - 1) & ~15
                    mem.seek(free)
                    mem.write(arg + b"\0")
                    arg = free
                values.append(arg & (2 ** 64 - 1))
        for register, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), values + [0] * 6):
            setattr(regs, register, value)
        # No call that was interrupted: nothing is to be begun again here.
        regs.rax, regs.orig_rax, regs.rip, regs.rsp = NR[name], 2 ** 64 - 1, self.at, free - RED_ZONE
        _ptrace(PTRACE_SETREGS, self.tid, ctypes.byref(regs))
        _ptrace(PTRACE_SINGLESTEP, self.tid, None)
        self._wait()
        _ptrace(PTRACE_GETREGS, self.tid, ctypes.byref(regs))
        result = ctypes.c_longlong(regs.rax).value
        return errno.errorcode[-result] if -4096 < result < 0 else result


