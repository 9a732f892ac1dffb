#!/usr/bin/env python3
"""run.py - runs clients that others wrote against a broker.

run.py --leveret PATH | --host H --port P [client...]
A client is a program that is given host and port, prints `ok NAME`, `skip NAME: why` or `FAIL NAME: why` for
each of its checks, and ends with status 0 when none failed. Ended early it has failed.
"""
import argparse
import collections
import concurrent.futures
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

FOLDER = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent / "wire"))
from broker import BrokerFailed, Leveret, Running  # noqa: E402
from link import Failure  # noqa: E402

# Debian's modules are the system Python's; another one may come first on the PATH.
PYTHON = "/usr/bin/python3"
CLIENT_SECONDS = 120


class Missing(Exception):
    """A client that is not installed here."""


def need(command, reason):
    """Missing unless the command ends well."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CLIENT_SECONDS)
    except OSError as error:
        raise Missing(f"{reason} ({error})") from None
    if done.returncode:
        raise Missing(f"{reason}\n{done.stderr}")


def c_client(name, build):
    program = str(build / name)
    need(["cc", "-std=c17", "-O1", "-g", "-Wall", "-Wextra", "-o", program, str(FOLDER / f"{name}.c"),
          "-lrabbitmq"], "librabbitmq (Debian: librabbitmq-dev) does not compile")
    return [program]


def python_client(module):
    def command(name, build):
        need([PYTHON, "-c", f"import {module}"], f"no Python module {module} (Debian: python3-{module})")
        return [PYTHON, str(FOLDER / f"{name}.py")]
    return command


def node_client(name, build):
    """amqplib, installed from its lock file into the build folder."""
    installed = build / "node"
    installed.mkdir()
    for file in ("package.json", "package-lock.json", f"{name}.js"):
        shutil.copy(FOLDER / file, installed)
    need(["npm", "ci", "--silent", "--no-audit", "--no-fund", "--prefix", str(installed)],
         "npm cannot install amqplib")
    return ["node", str(installed / f"{name}.js")]


def ruby_client(name, build):
    need(["ruby", "-e", "require 'bunny'"], "no bunny (Debian: ruby-bunny)")
    return ["ruby", str(FOLDER / f"{name}.rb")]


def php_client(check, package):
    def command(name, build):
        need(["php", "-r", f"exit({check} ? 0 : 1);"], f"no {package} (Debian: {package})")
        return ["php", str(FOLDER / f"{name}.php")]
    return command


CLIENTS = {
    "librabbitmq_client": c_client,
    "pika_client": python_client("pika"),
    "py_amqp_client": python_client("amqp"),
    "kombu_client": python_client("kombu"),
    "amqplib_client": node_client,
    "bunny_client": ruby_client,
    "php_amqp_client": php_client("extension_loaded('amqp')", "php-amqp"),
    "php_amqplib_client": php_client("file_exists('/usr/share/php/PhpAmqpLib/autoload.php')", "php-amqplib"),
}


def run_client(name, broker, build, allow_missing):
    """(checks passed, what to print of those that failed)"""
    try:
        command = CLIENTS[name](name, build)
    except Missing as missing:
        return (0, []) if allow_missing else (0, [f"{name} is missing: {missing}"])
    try:
        done = subprocess.run(command + [broker.address[0], str(broker.address[1])], capture_output=True,
                              text=True, errors="replace", timeout=CLIENT_SECONDS)
    except subprocess.TimeoutExpired as expired:
        return 0, [f"{name} did not end in {CLIENT_SECONDS} s; it said\n{expired.stdout}\n{expired.stderr}"]
    passed, failed = 0, []
    for line in done.stdout.splitlines():
        word, _, rest = line.partition(" ")
        passed += word == "ok"
        if word == "FAIL":
            failed.append(f"{name}: {rest}")
    if done.returncode and not failed or not passed:
        failed.append(f"{name} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return passed, failed


def run_restart(path):
    """The restart scenario, which starts its own broker with pika as the client."""
    command = [PYTHON, str(FOLDER / "restart.py"), path]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CLIENT_SECONDS)
    except subprocess.TimeoutExpired as expired:
        return 0, [f"restart.py did not end in {CLIENT_SECONDS} s; it said\n{expired.stdout}"]
    failed = [line.partition(" ")[2] for line in done.stdout.splitlines() if line.startswith("FAIL ")]
    if done.returncode and not failed:
        failed = [f"restart.py ended with {done.returncode}\n{done.stdout}\n{done.stderr}"]
    return done.stdout.count("ok "), failed


def run_all(options, broker, counts):
    """Runs the clients, three at a time, and counts their checks."""
    with tempfile.TemporaryDirectory(prefix="leveret-interop-") as folder, \
            concurrent.futures.ThreadPoolExecutor(3) as pool:
        names = options.clients or list(CLIENTS)
        jobs = {name: pool.submit(run_client, name, broker, pathlib.Path(folder), options.allow_missing)
                for name in names}
        if options.leveret and not options.clients:
            jobs["restart"] = pool.submit(run_restart, options.leveret)
        for name, job in jobs.items():
            passed, failed = job.result()
            counts["passed"] += passed
            counts["failed"] += len(failed)
            print(f"{name}: {passed} checks passed, {len(failed)} failed", flush=True)
            for text in failed:
                print(f"FAIL {text}", flush=True)


def main():
    parser = argparse.ArgumentParser(description="Runs other people's clients against an AMQP 0-9-1 broker.")
    parser.add_argument("clients", nargs="*", choices=[[], *CLIENTS], help="without any, all of them")
    parser.add_argument("--leveret", metavar="PATH", help="start this broker, on a port of its own")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, help="a broker that runs already")
    parser.add_argument("--allow-missing", action="store_true",
                        help="a client that is not installed is no failure")
    options = parser.parse_args()
    if bool(options.leveret) == bool(options.port):
        parser.error("either --leveret or --port is needed")
    begun, counts = time.monotonic(), collections.Counter()
    try:
        if options.leveret:
            broker = Leveret(options.leveret)
            broker.start()
        else:
            broker = Running(options.host, options.port)
        run_all(options, broker, counts)
        broker.stop()
    except (BrokerFailed, OSError, Failure) as failed:
        print(f"FAIL {failed}")
        counts["failed"] += 1
    took = time.monotonic() - begun
    print(f"interop: {counts['passed']} passed, {counts['failed']} failed in {took:.1f} s")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
