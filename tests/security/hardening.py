#!/usr/bin/env python3
"""hardening.py - what is left to somebody who has got in, or sits beside the server:
hardening.py --leveret PATH [--binary PATH...] [check...]

The binaries as readelf sees them, modes and owners of all files, root given up after binding, what the
service manager is told. What needs root is left out, and said to be, when the test has not got it.
"""
import argparse
import base64
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "wire"))
import amqp  # noqa: E402
from broker import BrokerFailed, Leveret  # noqa: E402
from link import Failure, Link, check  # noqa: E402

TIMEOUT = 30
BINARIES = []
NOBODY = pwd.getpwnam("nobody")


class NeedsRoot(Exception):
    """The check cannot be made by this user."""


def need_root():
    if os.geteuid() != 0:
        raise NeedsRoot


# Binaries.

def readelf(path, *options):
    return subprocess.run(["readelf", "-W", *options, path], capture_output=True, text=True,
                          check=True).stdout


def check_binary(path):
    check("DYN (Position-Independent Executable file)" in readelf(path, "-h"), f"{path} is not PIE")
    dynamic = readelf(path, "-d")
    check(re.search(r"FLAGS_1\).*\bNOW\b", dynamic), f"{path} binds lazily")
    check(not re.search(r"\((RPATH|RUNPATH|TEXTREL)\)", dynamic), f"{path} has RPATH, RUNPATH or TEXTREL")
    segments = {}
    for line in readelf(path, "-l").splitlines():
        found = re.match(r"\s+([A-Z_]+)\s+(?:0x[0-9a-f]+\s+){5}([RWE ]{3})", line)
        if found:
            segments.setdefault(found[1], []).append(found[2])
    check(segments.get("GNU_STACK") == ["RW "], f"{path}: the stack is {segments.get('GNU_STACK')}")
    check("GNU_RELRO" in segments, f"{path} has no RELRO")
    check(len(segments["LOAD"]) >= 3, f"{path}: segments {segments}")
    check(not any("W" in flags and "E" in flags for kind in segments.values() for flags in kind),
          f"{path} has a segment to write and execute")
    imported = readelf(path, "--dyn-syms")
    check("__stack_chk_fail" in imported, f"{path} has no stack canaries")
    fortified = set(re.findall(r"\b__(\w+)_chk\b", imported))
    check(fortified & {"memcpy", "snprintf", "vsnprintf"}, f"{path} has no fortified calls: {fortified}")


def binaries(_):
    check(BINARIES, "no --binary was given")
    for path in BINARIES:
        check_binary(path)


# Files.

class Umask(Leveret):
    """A leveret that is started with a umask, and who keeps a log file."""

    def __init__(self, path, umask, settings=()):
        super().__init__(path, settings)
        self.umask = umask
        self.settings.append(f"log.file={self.directory}/broker.log")
        self.directory.chmod(0o755)

    def start(self):
        old = os.umask(self.umask)
        try:
            super().start()
        finally:
            os.umask(old)


def connect(broker):
    link = Link(broker.address, TIMEOUT)
    link.start(b"guest", b"guest")
    link.tune()
    link.open()
    link.call(1, "channel.open")
    return link


def make_files(broker):
    """Journal, definitions, and pages: more waits than stays in memory."""
    link = connect(broker)
    link.call(1, "queue.declare", queue=b"hardening", durable=1)
    link.call(1, "confirm.select")
    for _ in range(200):
        link.send(amqp.publish_frames(1, {"exchange": b"", "routing_key": b"hardening"},
                                      amqp.write_properties({"delivery_mode": 2}), b"x" * 20000, 131072))
    confirmed = 0
    while confirmed < 200:
        confirmed = link.next_event(1).fields["delivery_tag"]
    link.close()


PAGED = ["queue.resident_messages=1", "queue.page_size=65536", "resident_memory=65536"]


def all_files(broker):
    found = [broker.directory / "broker.log"]
    for folder, folders, files in os.walk(broker.directory / "data"):
        found += [pathlib.Path(folder)] + [pathlib.Path(folder) / name for name in folders + files]
    names = " ".join(path.name for path in found)
    for part in ["definitions.db", "journal-", "pages-", "leveret.sock", "lock"]:
        check(part in names, f"there is no {part}: {names}")
    return {path: path.lstat() for path in found}


def status(pid, name, thread=None):
    path = f"/proc/{pid}/task/{thread}/status" if thread else f"/proc/{pid}/status"
    return re.search(rf"^{name}:\s*(.*)$", pathlib.Path(path).read_text(), re.MULTILINE)[1]


def check_modes(broker, forbidden):
    for path, state in all_files(broker).items():
        mode = stat.S_IMODE(state.st_mode)
        most = 0o600 if stat.S_ISSOCK(state.st_mode) else 0o750 if stat.S_ISDIR(state.st_mode) else 0o640
        check(not mode & ~most & 0o7777, f"{path.name} has mode {mode:o}, {most:o} is allowed")
        check(not mode & forbidden, f"{path.name} has mode {mode:o}")


def files(path):
    """Even when whoever starts it lets everybody write everything."""
    broker = Umask(path, 0, PAGED)
    broker.start()
    make_files(broker)
    check(int(status(broker.process.pid, "Umask"), 8) == 0o027, "umask is not 027")
    check_modes(broker, 0o027)
    broker.restart("kill")
    make_files(broker)
    check_modes(broker, 0o027)
    broker.stop()


def strict_umask(path):
    """One that is stricter is kept."""
    broker = Umask(path, 0o077, PAGED)
    broker.start()
    make_files(broker)
    check_modes(broker, 0o077)
    broker.stop()


# Root.

def low_port():
    for port in range(700, 1024):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Failure("no port below 1024 is free")


class Dropping(Umask):
    """A leveret that is started as root and becomes nobody, in a folder that nobody can write to."""

    def __init__(self, path, settings=("user=nobody",)):
        super().__init__(path, 0o022, [*PAGED, *settings])
        self.settings = [s for s in self.settings if not s.startswith("log.file")]
        (self.directory / "logs").mkdir()
        os.chown(self.directory / "logs", NOBODY.pw_uid, NOBODY.pw_gid)
        self.settings.append(f"log.file={self.directory}/logs/broker.log")
        self.address = "127.0.0.1", low_port()

    def log(self):
        return (self.directory / "log").read_text(errors="replace")


def check_is_nobody(broker):
    pid = broker.process.pid
    for thread in os.listdir(f"/proc/{pid}/task"):
        for name, number in [("Uid", NOBODY.pw_uid), ("Gid", NOBODY.pw_gid)]:
            ids = set(map(int, status(pid, name, thread).split()))
            check(ids == {number}, f"thread {thread} has {name} {ids}")
        groups = set(map(int, status(pid, "Groups", thread).split()))
        check(groups <= set(os.getgrouplist("nobody", NOBODY.pw_gid)), f"thread {thread} has groups {groups}")
        for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"]:
            check(int(status(pid, name, thread), 16) == 0, f"thread {thread} has {name}")


def drops_root(path):
    """A port below 1024 is bound, the data directory made and given away; then nothing is left of root, in
    any thread. Again after kill -9, when all is there."""
    need_root()
    broker = Dropping(path)
    for how in [None, "kill", "term"]:
        if how:
            broker.restart(how)
        else:
            broker.start()
        make_files(broker)
        check_is_nobody(broker)
        check("running as root" not in broker.log(), "the log says that it runs as root")
        for folder, folders, names in os.walk(broker.directory / "data"):
            for name in [".", *folders, *names]:
                owner = (pathlib.Path(folder) / name).lstat()
                check((owner.st_uid, owner.st_gid) == (NOBODY.pw_uid, NOBODY.pw_gid), f"{name} is {owner}")
        check((broker.directory / "logs/broker.log").stat().st_uid == NOBODY.pw_uid, "the log file is root's")
    broker.stop()


def reads_keys_as_root(path):
    """A TLS key that only root can read is good for the start; after SIGHUP, which cannot read it any more,
    the old one stays in use."""
    need_root()
    broker = Dropping(path)
    key, certificate = broker.directory / "key.pem", broker.directory / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost"],
                   check=True, capture_output=True)
    key.chmod(0o600)
    broker.settings += ["listeners.ssl.1=127.0.0.1:0", f"ssl_options.certfile={certificate}",
                        f"ssl_options.keyfile={key}"]
    broker.start()
    check_is_nobody(broker)
    check("started TLS listener" in broker.log(), "no TLS listener")
    broker.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + TIMEOUT
    while "the old certificates stay in use" not in broker.log():
        check(time.monotonic() < deadline, "the key was read by nobody")
        time.sleep(0.01)
    broker.stop()


def expect_refusal(broker, text, **options):
    command = [broker.path, "--data-dir", str(broker.directory / "data")]
    for setting in [*broker.listeners(), *broker.settings]:
        command += ["--set", setting]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False, **options)
    check(result.returncode == 1, f"exit status {result.returncode}: {result.stdout}")
    check(text in result.stdout, f"'{text}' is not in: {result.stdout}")


def refuses_to_become(path):
    need_root()
    expect_refusal(Dropping(path, ["user=no-such-user"]), "cannot become the user 'no-such-user'")
    expect_refusal(Dropping(path, ["user=nobody", "group=no-such-group"]), "cannot become the group")
    expect_refusal(Dropping(path, ["group=nogroup"]), "'group' is given without 'user'")
    expect_refusal(Dropping(path, ["user=root", "group=nogroup"]), "'group' is given, and 'user' is root")
    foreign = Dropping(path)
    (foreign.directory / "data").mkdir(mode=0o700)
    expect_refusal(foreign, "cannot open the data directory")
    check((foreign.directory / "data").stat().st_uid == 0, "a directory that was there was given away")
    # A broker that is nobody already can become nobody, and nobody else.
    copy = Dropping(path, ["user=daemon"])
    copy.path = str(copy.directory / "leveret")
    shutil.copy(path, copy.path)
    copy.address = "127.0.0.1", 0
    expect_refusal(copy, "cannot become the user 'daemon': Operation not permitted", user="nobody", cwd="/")


def warns_of_root(path):
    need_root()
    for settings, warned in [([], True), (["user=root"], False)]:
        broker = Umask(path, 0o022, settings)
        broker.start()
        log = (broker.directory / "log").read_text()
        check(("running as root, with all its rights" in log) == warned, f"with {settings}: {log}")
        broker.stop()


# What is left when it dies.

def dumps_no_core(path):
    """No core file is written, however much the limits allow it; when it is asked for, it is."""
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
    for settings, dumped in [([], False), (["core_dumps=true"], True), (["user=nobody"], False),
                             (["user=nobody", "core_dumps=true"], True)]:
        if settings[:1] == ["user=nobody"] and os.geteuid() != 0:
            continue
        broker = Leveret(path, settings)
        broker.directory.chmod(0o777)
        broker.path = str(broker.directory / "dumping")
        pathlib.Path(broker.path).write_text( # the sanitizer would take the limit back
            f"#!/bin/sh\nulimit -c unlimited && cd '{broker.directory}' && "
            f"export ASAN_OPTIONS=\"$ASAN_OPTIONS:disable_coredump=0\" && "
            f"exec '{pathlib.Path(path).resolve()}' \"$@\"\n")
        pathlib.Path(broker.path).chmod(0o755)
        broker.start()
        pid, limits = broker.process.pid, pathlib.Path(f"/proc/{broker.process.pid}/limits").read_text()
        check(re.search(r"Max core file size +unlimited", limits), "the limit is not lifted")
        if os.geteuid() == 0 and settings[:1] == ["user=nobody"]:
            # Files in /proc of what cannot be dumped are root's, whoever it is.
            owner = os.stat(f"/proc/{pid}/mem").st_uid
            check(owner == (NOBODY.pw_uid if dumped else 0), f"{settings}: memory is open to {owner}")
        broker.process.send_signal(signal.SIGABRT)
        broker.process.wait(TIMEOUT)
        cores = list(broker.directory.rglob("core*"))
        if pattern == "core":
            check(bool(cores) == dumped, f"with {settings} core files are {cores}")
        broker.temporary.cleanup()


# Randomness.

def made_up(path):
    """What one start makes up: names of a queue and a consumer, and the salt of guest's password."""
    broker = Leveret(path)
    broker.start()
    link = connect(broker)
    queue = link.call(1, "queue.declare", exclusive=1).fields["queue"]
    tag = link.call(1, "basic.consume", queue=queue).fields["consumer_tag"]
    exported = broker.directory / "exported.json"
    broker.ctl(["export_definitions", str(exported)])
    password_hash = json.loads(exported.read_text())["users"][0]["password_hash"]
    salt = base64.b64decode(password_hash)[:4]
    link.drop()
    broker.stop()
    return queue, tag, salt


def nothing_can_be_foretold(path):
    """Two starts with nothing before them make up nothing that is equal."""
    first, second = made_up(path), made_up(path)
    for one, other in zip(first, second):
        check(one and one != other, f"both starts made up {one}")


# Who starts it.

def standard_files_closed(path):
    """Started with descriptors 0 to 2 closed, nothing else gets their numbers: log and last words would go
    there, into a file of the store perhaps."""
    for closed in ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"]:
        broker = Leveret(path)
        broker.path = str(broker.directory / "closing")
        pathlib.Path(broker.path).write_text(
            f"#!/bin/sh\nexec '{pathlib.Path(path).resolve()}' \"$@\" {closed}\n")
        pathlib.Path(broker.path).chmod(0o755)
        broker.start()
        for number in range(3):
            file = os.readlink(f"/proc/{broker.process.pid}/fd/{number}")
            check(file in ("/dev/null", str(broker.directory / "log")), f"{closed}: {number} is {file}")
        broker.stop()


# The service manager.

def notifies(path):
    """READY when clients can connect, STOPPING when it stops, by path and by abstract name."""
    for abstract in [False, True]:
        broker = Leveret(path)
        name = f"{broker.directory}/notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind("\0" + name if abstract else name)
            manager.settimeout(TIMEOUT)
            os.environ["NOTIFY_SOCKET"] = "@" + name if abstract else name
            try:
                broker.start()
            finally:
                del os.environ["NOTIFY_SOCKET"]
            check(manager.recv(4096).startswith(b"READY=1\n"), "no READY=1")
            broker.process.send_signal(signal.SIGTERM)
            check(manager.recv(4096).startswith(b"STOPPING=1\n"), "no STOPPING=1")
            check(broker.process.wait(TIMEOUT) == 0, "it did not end well")


def goes_unnotified(path):
    """A socket that is not there, or no socket, is no reason not to run."""
    for name in ["/nonexistent/socket", "", "@", "vsock:2:1", "/" + "x" * 200]:
        broker = Leveret(path)
        os.environ["NOTIFY_SOCKET"] = name
        try:
            broker.start()
        finally:
            del os.environ["NOTIFY_SOCKET"]
        broker.stop()


CHECKS = {"binaries": binaries, "files": files, "strict_umask": strict_umask, "drops_root": drops_root,
          "reads_keys_as_root": reads_keys_as_root, "refuses_to_become": refuses_to_become,
          "warns_of_root": warns_of_root,
          "dumps_no_core": dumps_no_core, "standard_files_closed": standard_files_closed,
          "nothing_can_be_foretold": nothing_can_be_foretold, "notifies": notifies,
          "goes_unnotified": goes_unnotified}


def main():
    parser = argparse.ArgumentParser(description="What is left to somebody who has got in.")
    parser.add_argument("--leveret", metavar="PATH", required=True)
    parser.add_argument("--binary", metavar="PATH", action="append", default=[],
                        help="one that has to be hardened")
    parser.add_argument("checks", nargs="*", choices=[[], *CHECKS], help="without any, all of them")
    options = parser.parse_args()
    BINARIES.extend(options.binary)
    passed = failed = 0
    for name in options.checks or [name for name in CHECKS if name != "binaries" or BINARIES]:
        try:
            CHECKS[name](options.leveret)
            print(f"ok {name}", flush=True)
            passed += 1
        except NeedsRoot:
            print(f"left out {name}: it needs root", flush=True)
        except (Failure, BrokerFailed, OSError, subprocess.SubprocessError) as failure:
            print(f"FAIL {name}: {failure}", flush=True)
            failed += 1
    print(f"hardening: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
