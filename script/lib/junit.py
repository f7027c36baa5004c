"""Counts a JUnit report: prints `passed failed skipped`, then a line for each failure.
Usage: junit.py FILE LABEL"""
import sys
import xml.etree.ElementTree as ET


def outcome(case):
    kinds = {child.tag for child in case}
    if kinds & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in kinds else "passed"


def main():
    path, label = sys.argv[1:]
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    lines = []
    for case in ET.parse(path).iter("testcase"):
        what = outcome(case)
        counts[what] += 1
        if what == "failed":
            name = case.get("classname", "").replace("tests.scenarios.", "")
            lines.append(f"{label}: {name} {case.get('name')}".strip())
    if not sum(counts.values()):
        sys.exit(1)
    print(counts["passed"], counts["failed"], counts["skipped"])
    for line in lines:
        print(line)


main()
