"""A plain user of the test's own, for boxes without root: a uid that nobody has, with a home and a run
directory, and no right besides."""
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from lib.mesh import Mesh
from lib.programs import BUILD, TOP, program, run


class PlainUser:
    def __init__(self):
        self.uid = 62000 + os.getpid() % 3000
        self.home = Path(tempfile.mkdtemp(prefix="tulle-plain-", dir="/tmp"))
        self.runtime = self.home / "run"
        self.runtime.mkdir(mode=0o700)
        self.own(self.home)
        self.env = {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.runtime), "USER": f"plain{self.uid}",
                    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
        self.prefix = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups",
                       "--bounding-set=-all", "--inh-caps=-all", "--"]

    def own(self, folder):
        """Hands a folder and what is in it over to the user."""
        for path in [Path(folder), *Path(folder).rglob("*")]:
            os.chown(path, self.uid, self.uid, follow_symlinks=False)

    def run(self, *args, env=None, **more):
        return run(*self.prefix, *args, env={**self.env, **(env or {})}, **more)

    def end(self):
        shutil.rmtree(self.home, ignore_errors=True)


class PlainMesh(Mesh):
    """A mesh that a plain user runs; the folder is copied to where that user can read it."""

    def __init__(self, user, folder, logs, name=None):
        super().__init__(folder, logs, name, run_root=user.runtime / "tulle")
        self.user, self.prefix, self.env = user, user.prefix, {**user.env, "TULLE_MESH": self.name}
        here = user.home / f"docs-{self.name}"
        shutil.copytree(folder, here)
        user.own(here)
        self.folder = here

    def apply_file(self, path, wait=True):
        here = self.user.home / Path(path).name
        shutil.copy(path, here)
        self.user.own(here)
        return super().apply_file(here, wait)


@cache
def missing():
    """Why no box can run without root here; empty: it can."""
    user = PlainUser()
    try:
        if user.run("unshare", "-Urn", "true").code != 0:
            return "user namespaces are off for plain users here"
        for path in (program("tulle"), TOP / "examples/shop/web.yaml", BUILD):
            if user.run("test", "-r", path).code != 0:
                return f"a plain user cannot read {path}: the tree lies in a folder that is closed to others"
        return ""
    finally:
        user.end()
