"""Commands of a runbook: what stands in its fenced `sh` blocks, by the heading above, run as they stand."""
import re

from lib.programs import TOP, program, run

OPERATIONS = TOP / "docs/operations"


def commands(page, heading):
    """The command lines of a section, in their order."""
    text = (OPERATIONS / page).read_text()
    found = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert found, f"{page} has no section {heading!r}"
    blocks = re.findall(r"^```sh\n(.*?)^```$", found.group(1), re.M | re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines = [line for line in lines if line.strip() and not line.startswith("#")]
    assert lines, f"{page}, {heading}: there is no command"
    return lines


class Runbook:
    """Runs commands as an operator of this mesh has them: `tulle` in the PATH, the mesh by TULLE_MESH."""

    def __init__(self, page, folder, env, programs=None):
        self.page, self.env = page, dict(env)
        self.bin = programs or folder / "programs"
        if programs is not None:
            return
        self.bin.mkdir(exist_ok=True)
        for name in ("tulle", "tulled", "tulle-proxy"):
            target = self.bin / name
            target.unlink(missing_ok=True)
            target.symlink_to(program(name))

    def shell(self, line, timeout_s=120):
        return run("sh", "-c", f'PATH="{self.bin}:$PATH"; {line}', env=self.env, timeout_s=timeout_s)

    def section(self, heading, **more):
        """Runs a section; each command has to succeed. Their results."""
        return [self.shell(line, **more).ok() for line in commands(self.page, heading)]
