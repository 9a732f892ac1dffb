#!/usr/bin/env python3
"""logins.py - what a client can see of a login that fails: the time until it is told, for a wrong password, a
name that nobody has, a user without a password. Measures, asserts nothing.

    tests/bench/logins.py --leveret build/leveret --ctl build/leveretctl [--rounds 40]
"""
import argparse
import pathlib
import statistics
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "wire"))
from broker import Leveret  # noqa: E402
from link import Link  # noqa: E402

USERS = {"a wrong password": b"alice", "a name nobody has": b"zelda", "a user without a password": b"blank"}


def response(mechanism, user):
    if mechanism == b"PLAIN":
        return b"\0" + user + b"\0wrong one"
    return b"\5LOGINS" + struct.pack(">I", len(user)) + user + b"\x08PASSWORDS" + struct.pack(">I", 9) + \
        b"wrong one"


def seconds(broker, mechanism, user, number):
    # From an address of its own: those with ten failures have to wait.
    link = Link(broker.address, 30, (f"127.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 0))
    link.start(b"", b"", mechanism=mechanism, response=response(mechanism, user))
    begun = time.monotonic()
    event = link.next_event(0)
    took = time.monotonic() - begun
    assert event.name == "connection.close" and event.fields["reply_code"] == 403, str(event)
    link.drop()
    return took


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--leveret", required=True)
    parser.add_argument("--ctl", required=True)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    broker = Leveret(options.leveret)
    broker.start()
    ctl = [options.ctl, "--quiet", "--socket", str(broker.directory / "data" / "leveret.sock")]
    for words in (["add_user", "alice", "wonderland"], ["add_user", "blank", "x-wonderland"],
                  ["clear_password", "blank"]):
        subprocess.run([*ctl, *words], check=True)
    number = 0x010001
    for mechanism in (b"PLAIN", b"AMQPLAIN"):
        times = {what: [] for what in USERS}
        for _ in range(options.rounds):
            for what, user in USERS.items():  # in turn, so that all meet the same machine
                number += 1
                times[what].append(seconds(broker, mechanism, user, number) * 1000)
        for what, took in times.items():
            print(f"{mechanism.decode():9} {what:27} mean {statistics.mean(took):8.3f} ms, "
                  f"median {statistics.median(took):8.3f}, deviation {statistics.stdev(took):6.3f}, "
                  f"least {min(took):8.3f}, most {max(took):8.3f}")
    broker.stop()


if __name__ == "__main__":
    main()
