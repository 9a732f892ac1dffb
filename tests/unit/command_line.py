#!/usr/bin/env python3
"""command_line.py - options and exit statuses of leveret, without a broker: command_line.py LEVERET"""
import pathlib
import subprocess
import sys
import tempfile

# options, exit status, something standard output has, something standard error has
CASES = [
    (["--version"], 0, "leveret ", ""),
    (["--help"], 0, "--check-config", ""),
    (["--help"], 0, "listeners.tcp.*", ""),
    (["--check-config"], 0, "listeners.tcp.default = 5672\n", ""),
    (["--check-config", "--data-dir", "/x y"], 0, "data_dir = /x y\n", ""),
    (["--check-config", "--set", "heartbeat = 5"], 0, "heartbeat = 5\n", ""),
    (["--set", "heartbeat=5", "--config", "CONF", "--check-config"], 0, "heartbeat = 5\n", ""),
    (["--config", "CONF", "--check-config"], 0, "heartbeat = 7\n", ""),
    (["--config", "CONF", "--set", "default_pass=a=b", "--check-config"], 0, "# default_pass", ""),
    (["--config", "BAD", "--check-config"], 1, "", "BAD:2: unknown key 'hearbeat' - did you mean 'heartbeat"),
    (["--config", "BAD"], 1, "", "did you mean"),
    (["--config", "NONE"], 1, "", "NONE: No such file or directory\n"),
    (["--set", "channel_max=0"], 1, "", "leveret: --set: channel_max = '0': expected"),
    (["--set", "heartbeat"], 1, "", "expected KEY=VALUE"),
    (["--set", "=1"], 1, "", "expected KEY=VALUE"),
    (["--set", "listeners.tcp=none"], 1, "", "leave no listener"),
    (["--data-dir", ""], 1, "", "--data-dir: data_dir = ''"),
    (["--nonsense"], 2, "", "--help lists the options"),
    (["nonsense"], 2, "", "'nonsense' is no option"),
    (["--config"], 2, "", "requires an argument"),
    (["--help"], 0, "store check DIR", ""),
    (["store"], 2, "", "expected: store check DIR"),
    (["store", "check"], 2, "", "expected: store check DIR"),
    (["store", "mend", "NONE"], 2, "", "expected: store check DIR"),
    (["store", "check", "NONE"], 2, "NONE: cannot be read: No such file or directory\n", ""),
    (["store", "dump", "CONF"], 2, "CONF: cannot be read: Not a directory\n", ""),
]


def run_case(leveret, folder, options, status, out, err):
    """None when all is as expected, else what is not."""
    files = {name: str(folder / name) for name in ("CONF", "BAD", "NONE")}
    options = [files.get(option, option) for option in options]
    result = subprocess.run([leveret, *options], capture_output=True, text=True, timeout=30, check=False)
    if result.returncode != status:
        return f"exit status {result.returncode}: {result.stderr}"
    for name, path in files.items():
        out, err = out.replace(name, path), err.replace(name, path)
    if out not in result.stdout or err not in result.stderr:
        return f"said '{result.stdout}' and '{result.stderr}'"
    if (status == 0 or bool(out)) != (not result.stderr):
        return f"standard error has '{result.stderr}'"
    return None


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "CONF").write_text("# x\nheartbeat = 7\n")
        (folder / "BAD").write_text("heartbeat = 7\nhearbeat = 8\n")
        for number, case in enumerate(CASES, 1):
            problem = run_case(sys.argv[1], folder, *case)
            failed += problem is not None
            print("not ok" if problem else "ok", number, "-", " ".join(case[0]), problem or "")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
