"""The load generator tools/steady (Go): built once, then run in replicas or beside a proxy."""
import hashlib
import json
import os
import subprocess

from lib.programs import HANG_S, TOOLS, TOP, run

FOLDER = TOOLS / "steady"


def program():
    """Builds it where that has not been done; below build/, for all builds of Tulle."""
    sources = sorted(FOLDER.glob("*.go")) + [FOLDER / "go.mod"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    built = TOP / "build/steady" / f"steady-{digest}"
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        part = built.with_suffix(f".{os.getpid()}")
        env = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod",
               "GOCACHE": str(built.parent / "go-cache"),
               "PATH": os.environ["PATH"] + ":/usr/local/go/bin:/usr/lib/go/bin"}
        subprocess.run(["go", "build", "-trimpath", "-o", str(part), "."], cwd=FOLDER, env=env, check=True)
        part.rename(built)
    return built


def load_arguments(*targets, rate, seconds):
    return ["load", "-rate", str(rate), "-seconds", str(seconds), *targets]


def load(*targets, rate, seconds):
    """From this machine itself, to the end."""
    return json.loads(run(program(), *load_arguments(*targets, rate=rate, seconds=seconds),
                          timeout_s=seconds + HANG_S).ok().out)
