"""The corpora of tests/http1: families of raw messages, each case with what must become of it.

The format is told in tests/http1/README.md."""
import re
from dataclasses import dataclass, field

from lib.programs import TOP

FOLDER = TOP / "tests/http1"
CASE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*\|\s*(.*)$')
BYTES = re.compile(r"bytes ([0-9a-f. ]+?)\s*\|\s*(.*)$")
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"$')
ESCAPE = re.compile(r'\\(x[0-9a-f]{2}|.)|%\{([^}*]+)\*(\d+)\}|([^\\%]+|%)')
ESCAPES = {"r": "\r", "n": "\n", "t": "\t"}


def unescape(text):
    """\\r \\n \\t \\xHH, \\ before any other byte, %{TEXT*COUNT}; the bytes."""
    def one(m):
        if m[1]:
            return chr(int(m[1][1:], 16)) if m[1][0] == "x" and len(m[1]) == 3 else ESCAPES.get(m[1], m[1])
        return unescape(m[2]).decode("latin-1") * int(m[3]) if m[2] else m[4]
    return "".join(one(m) for m in ESCAPE.finditer(text)).encode("latin-1")


@dataclass
class Case:
    name: str
    data: bytes
    verdict: str                                 # first word of the expectation
    words: list                                  # the others of its first clause
    clauses: list                                # further clauses, each a list of words
    family: dict = field(default_factory=dict)   # what the family says: seen, method, then ...

    def clause(self, name):
        """The words after this name in a clause, or None."""
        return next((c[1:] for c in self.clauses if c[0] == name), None)

    def has(self, name):
        return self.clause(name) is not None

    def all(self, name):
        return [c[1:] for c in self.clauses if c[0] == name]


class Reader:
    def __init__(self, path):
        self.cases, self.family, self.template, self.count = [], {}, "", 0
        for number, line in enumerate(path.read_text().splitlines(), 1):
            line = line.strip()
            if line and not line.startswith("#"):
                try:
                    self.line(line)
                except (ValueError, IndexError, KeyError) as e:
                    raise ValueError(f"{path}:{number}: {line}: {e}") from e

    def line(self, line):
        word, _, rest = line.partition(" ")
        if m := CASE.match(line):
            self.add(m[1], m[2])
        elif m := BYTES.match(line):
            for value in byte_list(m[1]):
                self.add(f"\\x{value:02x}", m[2])
        elif word == "==":
            self.family, self.template, self.count = {"name": rest.split()[0]}, "$", 0
        elif word == "send":
            self.template = QUOTED.match(rest)[1]
        elif word in ("seen", "method", "upstream", "ends"):
            self.family[word] = rest
        else:
            raise ValueError("what is this line?")

    def add(self, value, expectation):
        clauses = [c.split() for c in expectation.split(";")]
        self.count += 1
        family = {k: v.replace("$", value) for k, v in self.family.items()}
        self.cases.append(Case(
            name=f"{self.family['name']}/{self.count}", data=unescape(self.template.replace("$", value)),
            verdict=clauses[0][0], words=clauses[0][1:], clauses=[c for c in clauses[1:] if c], family=family))


def byte_list(text):
    for part in text.split():
        first, _, last = part.partition("..")
        yield from range(int(first, 16), int(last or first, 16) + 1)


def read(name):
    return Reader(FOLDER / name).cases
