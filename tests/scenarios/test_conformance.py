"""Protobuf's conformance tests, over the code that reads and writes the messages of xDS: what is meant to
fail stands with its reason in tests/conformance/failures.txt, all else passes."""
import re

import pytest

from lib import conformance

pytestmark = [
    pytest.mark.skipif(not conformance.RUNNER.exists(), reason="needs script/bootstrap interop: the conformance tests"),
    pytest.mark.skipif(conformance.testee() is None, reason="this build has no tests: its testee is missing")]


def test_binary_and_json(tmp_path):
    done = conformance.Runner(tmp_path).run("--failure_list", conformance.FOLDER / "failures.txt").ok()
    suites = re.findall(r"CONFORMANCE SUITE PASSED: (\d+) successes, (\d+) skipped, (\d+) expected failures, "
                        r"0 unexpected failures", done.out + done.err)
    assert len(suites) == 2  # binary and JSON; the text form
    assert int(suites[0][0]) > 1300 and int(suites[1][0]) == 0
