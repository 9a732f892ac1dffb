#!/usr/bin/env python3
"""count.py - adds up what the tests of some builds said: count.py BUILD...

One meson test is a program with many checks. Counted is, from its output, the first of these that is
there: a last line "N passed, N failed", lines of TAP ("ok 1 - …", what libcheck writes here), else the
program as one. A program that failed without saying how counts one failure more. The output of what
failed is shown."""
import json
import pathlib
import re
import sys

SUMMARY = re.compile(r"(\d+) passed, (\d+) failed")
TAP = re.compile(r"^(ok|not ok)\b", re.MULTILINE)
SHOWN_BYTES = 20000


def read_results(build):
    """The tests of a build; None when it did not get as far as that."""
    log = pathlib.Path(build) / "meson-logs" / "testlog.json"
    if not log.exists():
        return None
    return [json.loads(line) for line in log.read_text(errors="replace").splitlines() if line.strip()]


def count(result):
    """(passed, failed) of one meson test."""
    good = result["result"] in ("OK", "EXPECTEDFAIL")
    if result["result"] == "SKIP":
        return 0, 0
    output = result.get("stdout", "")
    summaries = SUMMARY.findall(output)
    if summaries:
        passed, failed = map(int, summaries[-1])
    else:
        lines = TAP.findall(output)
        passed, failed = lines.count("ok"), lines.count("not ok")
        if not lines:
            passed = int(good)
    if not good and failed == 0:
        failed = 1
    return passed, failed


def show(build, result):
    print(f"--- {build}: {result['name']}: {result['result']} (exit status {result['returncode']})")
    for stream in "stdout", "stderr":
        text = result.get(stream, "").rstrip()
        if len(text) > SHOWN_BYTES:
            text = "…\n" + text[-SHOWN_BYTES:]
        if text:
            print(text)


def main():
    passed = failed = 0
    for build in sys.argv[1:]:
        results = read_results(build)
        if not results:
            log = pathlib.Path(build) / "leveret-test.log"
            print(f"--- {build}: no test was run")
            print(log.read_text(errors="replace") if log.exists() else "")
            failed += 1
            continue
        sums = [count(result) for result in results]
        for result, (_, bad) in zip(results, sums):
            if bad or result["result"] not in ("OK", "SKIP", "EXPECTEDFAIL"):
                show(build, result)
            elif result["result"] == "SKIP":
                print(f"--- {build}: {result['name']} was skipped")
        build_passed, build_failed = map(sum, zip(*sums))
        slowest = max(results, key=lambda result: result["duration"])
        print(f"{build}: {len(results)} programs, {build_passed} checks passed, {build_failed} not;"
              f" the slowest was {slowest['name']}, {slowest['duration']:.1f} s")
        passed += build_passed
        failed += build_failed
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
