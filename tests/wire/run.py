#!/usr/bin/env python3
"""run.py - runs the wire scripts of this folder:
run.py --leveret PATH | --rabbitmq | --host H --port P [script...]"""
import argparse
import collections
import concurrent.futures
import pathlib
import ssl
import sys
import tempfile
import time
import traceback

import certificates
from broker import BrokerFailed, Leveret, Running
from link import Failure, Link
from play import Play
from script import Script
from words import Bad

FOLDER = pathlib.Path(__file__).resolve().parent
WORKERS = 12


def arguments():
    parser = argparse.ArgumentParser(description="Runs wire scripts against an AMQP 0-9-1 broker.")
    parser.add_argument("scripts", nargs="*", help="files; without any, all of this folder")
    parser.add_argument("--leveret", metavar="PATH", help="start this broker, on a port of its own")
    parser.add_argument("--rabbitmq", action="store_true", help="start Debian's RabbitMQ, as often as needed")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, help="a broker that runs already")
    parser.add_argument("--has", metavar="KEY=VALUE", action="append", default=[],
                        help="the running broker is configured so: scripts that ask for it are run too")
    parser.add_argument("--timeout", type=float, default=10, help="seconds to wait for anything expected")
    parser.add_argument("--fast", action="store_true", help="leave out the scripts marked slow")
    parser.add_argument("--tls", action="store_true", help="speak TLS with the broker that is started")
    parser.add_argument("--list", action="store_true", help="only say which checks are in which script")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for every script")
    chosen = parser.parse_args()
    if not chosen.list and bool(chosen.leveret) + bool(chosen.port) + chosen.rabbitmq != 1:
        parser.error("one of --leveret, --rabbitmq and --port is needed")
    return chosen


def reason_to_skip(script, broker, fast):
    """Why a script cannot run against this broker, or None."""
    if fast and "slow" in script.header:
        return "slow"
    only = script.header.get("only", [broker.kind])[0]
    if only.split()[0] != broker.kind:
        return "only: " + only
    if Link.tls and "proxy_protocol=true" in script.settings():
        return "says before TLS what the runner says in it"
    if isinstance(broker, Running):
        if "restart" in script.header:
            return "the broker is not ours to restart"
        if script.needs_insight():
            return "asks the broker's administrator, or its log"
        missing = [setting for setting in script.settings() if setting not in broker.settings]
        if missing:
            return "needs " + " ".join(missing)
    return None


def new_broker(options, settings=()):
    """Leveret, or RabbitMQ."""
    if options.leveret:
        return Leveret(options.leveret, settings)
    from rabbit import RabbitMQ  # not there, and not needed, when Leveret alone is tested
    return RabbitMQ(settings)


def run_script(script, broker, options):
    """(outcome, what to print)"""
    if reason := reason_to_skip(script, broker, options.fast):
        return "skipped", reason
    own = None
    try:
        if script.needs_own_broker() and not options.port:
            own = broker = new_broker(options, script.settings())
            own.start()
        Play(script, broker, options.timeout).play()
        if own:
            own, ending = None, own
            ending.stop()
    except (Failure, BrokerFailed, OSError) as failure:
        if script.expected_to_fail(broker.kind) and isinstance(failure, Failure):
            return "differs", script.difference()
        return "failed", f"{failure}" if script.name in f"{failure}" else f"{script.name}: {failure}"
    except Bad as bad:
        return "failed", f"the script is wrong: {bad}"
    except Exception:
        return "failed", f"{script.name}: {traceback.format_exc()}"
    finally:
        if own:
            own.discard()
    if script.expected_to_fail(broker.kind):
        return "failed", f"{script.name} is marked as different on RabbitMQ, but passes there"
    if broker.kind == "rabbitmq" and script.difference():
        return "differs", script.difference()
    return "passed", ""


def run_all(scripts, broker, options, counts):
    """Runs them side by side and counts how they came out."""
    differences = []
    with concurrent.futures.ThreadPoolExecutor(3 if options.rabbitmq else WORKERS) as pool:
        # The slow ones first, so that they run beside the others.
        scripts = sorted(scripts, key=lambda script: "slow" not in script.header)
        futures = {pool.submit(run_script, script, broker, options): script for script in scripts}
        for future in concurrent.futures.as_completed(futures):
            script, (outcome, text) = futures[future], future.result()
            counts[outcome] += 1
            if outcome == "differs":
                differences.append(f"    {script.name}: {text}")
            if outcome == "failed":
                print(f"FAIL {text}", flush=True)
            elif options.verbose:
                print(f"{outcome} {script.name} {text}", flush=True)
    if differences:
        print("differs from RabbitMQ on purpose, and does so:", *sorted(differences), sep="\n")


def use_tls():
    """From now on brokers that are started listen for TLS and all connections speak it; returns the folder of
    the certificates, which goes away with it."""
    folder = tempfile.TemporaryDirectory(prefix="leveret-certs-")
    certificates.make(folder.name)
    Leveret.certificates = folder.name
    Link.tls = ssl.create_default_context(cafile=folder.name + "/ca.pem")
    return folder


def main():
    options = arguments()
    paths = [pathlib.Path(path) for path in options.scripts] or sorted(FOLDER.glob("*.wire"))
    scripts = [Script(path) for path in paths]
    if options.list:
        for script in scripts:
            print(f"{script.name}: {' '.join(script.header.get('checks', ['-']))}")
        return 0
    folder = use_tls() if options.tls else None
    begun, counts = time.monotonic(), collections.Counter()
    try:
        if options.port:
            broker = Running(options.host, options.port, options.has)
        else:
            broker = new_broker(options)
            broker.start()
        run_all(scripts, broker, options, counts)
        broker.stop()
    except (BrokerFailed, OSError, Failure) as failed:
        print(f"FAIL {failed}")
        counts["failed"] += 1
    if folder:
        folder.cleanup()
    took = time.monotonic() - begun
    passed = counts["passed"] + counts["differs"]
    print(f"wire: {passed} passed, {counts['failed']} failed, {counts['skipped']} skipped in {took:.1f} s")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
