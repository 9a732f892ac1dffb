#!/usr/bin/env python3
"""unit.py - packaging/leveret.service: unit.py --leveret PATH

What it has to say is there, its command line is one that leveret takes, systemd finds nothing wrong with
it, and the server makes no system call that it forbids. What needs systemd-analyze or strace is left out, and
said to be, where they are not installed.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
UNIT = HERE.parent.parent / "packaging" / "leveret.service"
sys.path.insert(0, str(HERE.parent / "wire"))
import amqp  # noqa: E402
from broker import BrokerFailed, Leveret  # noqa: E402
from link import Failure, Link, check  # noqa: E402

TIMEOUT = 60
EXPOSURE_MAX = 1.5
REQUIRED = {
    "Type": "notify", "User": "leveret", "Group": "leveret", "UMask": "0027", "LimitCORE": "0",
    "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "AmbientCapabilities": "",
    "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes", "PrivateDevices": "yes",
    "ProtectKernelTunables": "yes", "ProtectKernelModules": "yes", "ProtectControlGroups": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX", "RestrictNamespaces": "yes",
    "MemoryDenyWriteExecute": "yes", "LockPersonality": "yes", "StateDirectory": "leveret",
    "StateDirectoryMode": "0750", "SystemCallArchitectures": "native"}


class LeftOut(Exception):
    """The check cannot be made here."""


def read_unit():
    keys = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "#[":
            key, value = line.split("=", 1)
            keys.setdefault(key, []).append(value)
    return keys


def need(command):
    if not shutil.which(command):
        raise LeftOut(f"{command} is not installed")


def says_what_it_must(_):
    keys = read_unit()
    for key, value in REQUIRED.items():
        check(keys.get(key) == [value], f"{key} is {keys.get(key)}, not '{value}'")
    check(int(keys["LimitNOFILE"][0]) >= 65536, "LimitNOFILE is small")
    check(keys["SystemCallFilter"] == ["@system-service", "~@privileged @resources"], "SystemCallFilter")


def command_is_known(leveret):
    """Its options, with a file and folder that exist here: the configuration is taken."""
    words = read_unit()["ExecStart"][0].split()
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "leveret.conf").write_text("heartbeat = 30\n")
        options = [word.replace("/etc/leveret", folder) for word in words[1:]]
        result = subprocess.run([leveret, *options, "--check-config"], capture_output=True, text=True,
                                timeout=TIMEOUT, check=False)
        check(result.returncode == 0, result.stderr)
        check("data_dir = /var/lib/leveret" in result.stdout and "heartbeat = 30" in result.stdout,
              result.stdout)


def systemd_takes_it(leveret):
    need("systemd-analyze")
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "leveret.service"
        built = str(pathlib.Path(leveret).resolve())
        copy.write_text(UNIT.read_text(encoding="utf-8").replace("/usr/bin/leveret", built))
        result = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True,
                                text=True, timeout=TIMEOUT, check=False)
        said = [line for line in result.stderr.splitlines() if "leveret" in line]
        check(result.returncode == 0 and not said, result.stderr)


def exposure_is_low(_):
    need("systemd-analyze")
    result = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", UNIT],
                            capture_output=True, text=True, timeout=TIMEOUT, check=False)
    found = re.search(r"Overall exposure level for leveret\.service: ([0-9.]+)", result.stdout)
    if not found:
        raise LeftOut("this systemd-analyze knows no --offline")
    check(float(found[1]) <= EXPOSURE_MAX, f"the exposure is {found[1]}")
    print(f"exposure {found[1]}")


def calls_of(group):
    """The system calls of a group such as @system-service."""
    text = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True,
                          timeout=TIMEOUT, check=True).stdout
    names = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    found = set()
    for name in names:
        if name.startswith("@"):
            found |= calls_of(name)
        elif not name.startswith("#"):
            found.add(name)
    return found


def use(broker):
    """Declares, publishes more than memory keeps, takes it back; TLS and the control socket are not in it."""
    link = Link(broker.address, TIMEOUT)
    link.start(b"guest", b"guest")
    link.tune()
    link.open()
    link.call(1, "channel.open")
    link.call(1, "queue.declare", queue=b"unit", durable=1)
    link.call(1, "confirm.select")
    for _ in range(50):
        link.send(amqp.publish_frames(1, {"exchange": b"", "routing_key": b"unit"},
                                      amqp.write_properties({"delivery_mode": 2}), b"x" * 20000, 131072))
    confirmed = 0
    while confirmed < 50:
        confirmed = link.next_event(1).fields["delivery_tag"]
    for _ in range(50):
        link.send_method(1, "basic.get", queue=b"unit", no_ack=1)
        check(len(link.next_event(1).body) == 20000, "a message is not there")
    link.call(1, "queue.delete", queue=b"unit")
    link.close()


def makes_no_forbidden_call(leveret):
    """What it calls after exec, all threads, from the start to the end."""
    need("systemd-analyze")
    need("strace")
    broker = Leveret(leveret, ["user=root", "queue.resident_messages=1", "resident_memory=65536"])
    trace, wrapper = broker.directory / "trace", broker.directory / "traced"
    wrapper.write_text(f"#!/bin/sh\nexec strace -f -q -D -o '{trace}' '{broker.path}' \"$@\"\n")
    wrapper.chmod(0o755)
    broker.path = str(wrapper)
    try:
        broker.start()
    except BrokerFailed as failed:
        raise LeftOut("strace may not trace here") from failed
    use(broker)
    broker.process.send_signal(1)
    use(broker)
    pid = broker.process.pid
    broker.end(15)
    # The tracer is a process of its own, which ends after the one it traces.
    deadline = time.monotonic() + TIMEOUT
    while not re.search(rf"^{pid} +\+\+\+ exited", trace.read_text(errors="replace"), re.MULTILINE):
        check(time.monotonic() < deadline, "the trace does not end")
        time.sleep(0.01)
    made = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(errors="replace"), re.MULTILINE))
    check({"fdatasync", "accept4", "sendmsg"} <= made, f"the trace has {made}")
    allowed = calls_of("@system-service") - calls_of("@privileged") - calls_of("@resources") | {"execve"}
    check(made <= allowed, f"forbidden calls are made: {made - allowed}")
    print(f"{len(made)} system calls are in use")
    broker.temporary.cleanup()


CHECKS = [says_what_it_must, command_is_known, systemd_takes_it, exposure_is_low, makes_no_forbidden_call]


def main():
    parser = argparse.ArgumentParser(description="The unit for systemd.")
    parser.add_argument("--leveret", metavar="PATH", required=True)
    options = parser.parse_args()
    passed = failed = 0
    for one in CHECKS:
        try:
            one(options.leveret)
            print(f"ok {one.__name__}", flush=True)
            passed += 1
        except LeftOut as why:
            print(f"left out {one.__name__}: {why}", flush=True)
        except (Failure, BrokerFailed, OSError, subprocess.SubprocessError) as failure:
            print(f"FAIL {one.__name__}: {failure}", flush=True)
            failed += 1
    print(f"unit: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
