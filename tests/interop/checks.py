"""checks.py - what the Python clients share: naming, running and printing their checks."""
import os
import sys
import traceback

UNIQUE = f"{os.path.basename(sys.argv[0]).split('.')[0]}.{os.getpid()}"


def name(of):
    """A name that no other client uses."""
    return f"{UNIQUE}.{of}"


def equal(actual, expected):
    if actual != expected:
        raise AssertionError(f"expected {expected!r}, got {actual!r}")


def run(checks):
    """Runs the functions in their order, a line each; ends the process."""
    failed = 0
    for check in checks:
        label = check.__name__.replace("_", " ")
        try:
            check()
            print(f"ok {label}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAIL {label}: {type(error).__name__} {error}".replace("\n", " "), flush=True)
            traceback.print_exc()
    sys.exit(1 if failed else 0)
