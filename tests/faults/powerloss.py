#!/usr/bin/env python3
"""powerloss.py - pulls the plug and breaks the disk under load, over and over, and counts what was promised.

The load and the ledger are those of tests/crash/run.py. What ends each life of the broker:
  plug    the power goes at a random moment: only what was synced is left, and random sectors and names of
          the rest
  count   the same at the Nth change of a file, which may be during recovery, or in the middle of a write
  write   the Nth write fails with EIO: the broker has to end with status 1 and one clear last line
  sync    the Nth fdatasync or fsync fails with EIO, and what was not synced is lost
  kill    kill -9: nothing is lost but what the process had in memory; yet what it left to the kernel unsynced
          goes with a later power cut, which often follows at once, while the next process recovers
  full    the disk is full for a while: the broker says so, confirms nothing and goes on when there is space;
          then kill -9
  dark    the power goes while the disk is full
  term    SIGTERM while the disk is full: the broker ends with status 1 and says why
After each, `leveret store check` has to call the directory clean.

--lie is the negative control: the disk says that a sync is done and it is not (FAULTS_LIE of powerloss.c), so
what was promised is lost, and the run passes when that was found. `left` is for the kinds kill,plug,count:
nothing that a killed process had left ever becomes durable.
"""
import argparse
import collections
import os
import random
import re
import signal
import subprocess
import sys
import time

import faulty
from faulty import brokers

crash = faulty.load_crash()
LIFE_SECONDS = 20
SPARES_SECONDS = 120  # a full disk is met when the journal's spare segments are written over, up to 128 MB
FULL_KINDS = ("full", "dark", "term")
NO_SPACE = "no space left: nothing is confirmed until there is some again"
SPACE = "there is space again"
BLOCKED = "disk resource limit alarm set on node"
LAST_LINE = "; stopping. Nothing was confirmed that is not on disk."


class Round:
    """One life of the broker: how it ends, and whether it ended so."""

    def __init__(self, broker, dice, kinds, counts):
        self.broker, self.counts = broker, counts
        cuts = [kind for kind in kinds if kind in ("plug", "count")]
        after_kill = bool(broker.round and broker.round.killed and cuts and dice.random() < 0.5)
        self.kind = dice.choice(cuts if after_kill else kinds)
        self.killed = False  # the process was, and not the power
        self.faults = {"SEED": dice.randrange(1, 1 << 62), **({"SHORT": 1} if dice.random() < 0.5 else {})}
        if broker.lie:
            self.faults["LIE"] = broker.lie
        # Early ones hit the recovery, late ones the load.
        number = dice.choice([dice.randint(1, 12), dice.randint(1, 200), dice.randint(50, 1500)])
        if after_kill:
            number = dice.randint(1, 40)
        if self.kind in ("plug", "dark"):
            self.plug = broker.directory / "plug"
            if not self.plug.exists():
                os.mkfifo(self.plug)
            self.faults["PLUG"] = self.plug
        elif self.kind == "count":
            self.faults["LOSE_AT"] = number
        elif self.kind in ("write", "sync"):
            self.faults["FAIL"] = f"{self.kind}:EIO:{number if self.kind == 'write' else number // 3 + 1}"
        self.full = broker.directory / "full"
        if self.kind in FULL_KINDS:
            self.faults["FULL"] = self.full

    def end(self, _broker, dice):
        """Ends the life; as tests/crash/run.py calls it."""
        process = self.broker.process
        if self.kind in ("plug", "kill") + FULL_KINDS:
            time.sleep(dice.uniform(0.02, 0.8))  # the moment is what varies
        if self.kind in FULL_KINDS:
            self.fill(dice)
        if self.kind in ("plug", "dark"):
            self.plug.write_bytes(b"!")
        elif self.kind in ("kill", "full"):
            process.send_signal(signal.SIGKILL)
        elif self.kind == "term":
            process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(LIFE_SECONDS)
        except subprocess.TimeoutExpired:
            # A quiet broker may never come to its Nth change.
            process.kill()
            process.wait()
            self.counts["not reached"] += 1
            self.killed = True
        else:
            self.judge(status)
            self.killed = self.kind in ("kill", "full", "term")
        self.full.unlink(missing_ok=True)
        self.look()

    def fill(self, dice):
        """The disk is full from now on; for the kind `full`, until the broker has gone on with less of it."""
        said, blocked = self.broker.count_in_log(NO_SPACE), self.broker.count_in_log(BLOCKED)
        self.full.touch()
        self.wait(lambda: self.broker.count_in_log(NO_SPACE) > said, "it does not say that the disk is full",
                  SPARES_SECONDS)
        if self.kind != "full":
            time.sleep(dice.uniform(0, 1.5))
            return
        self.wait(lambda: self.broker.count_in_log(BLOCKED) > blocked, "it does not block publishers")
        time.sleep(0.1)  # what is under way to the clients arrives
        confirmed = len(self.broker.ledger.confirmed)
        time.sleep(0.3)
        if len(self.broker.ledger.confirmed) != confirmed:
            raise brokers.BrokerFailed("messages were confirmed on a full disk")
        said = self.broker.count_in_log(SPACE)
        self.full.unlink()
        self.wait(lambda: self.broker.count_in_log(SPACE) > said, "it does not see that there is space")
        self.wait(lambda: len(self.broker.ledger.confirmed) > confirmed + 200, "it does not go on")

    def wait(self, condition, otherwise, seconds=LIFE_SECONDS):
        deadline = time.monotonic() + seconds
        while not condition():
            if self.broker.process.poll() is not None:
                raise brokers.BrokerFailed(f"{self.kind}: ended with {self.broker.process.returncode}")
            if time.monotonic() > deadline:
                raise brokers.BrokerFailed(otherwise)
            time.sleep(0.02)

    def judge(self, status):
        line = self.broker.last_line()
        self.counts[self.kind] += 1
        if self.kind in ("write", "sync"):
            if status != 1 or "Input/output error" not in line:
                raise brokers.BrokerFailed(f"after a failed {self.kind}: status {status}, last line '{line}'")
            if line.startswith("leveret: ") and not line.endswith(LAST_LINE):
                raise brokers.BrokerFailed(f"the last line is '{line}'")
        elif self.kind == "term":
            if status != 1 or "No space left on device" + LAST_LINE not in line:
                raise brokers.BrokerFailed(f"SIGTERM on a full disk: status {status}, last line '{line}'")
        elif status != -signal.SIGKILL:
            raise brokers.BrokerFailed(f"{self.kind}: ended with {status}: '{line}'")

    def look(self):
        found = self.broker.check()
        if found:
            raise brokers.BrokerFailed(f"after {self.kind} {self.faults}: store check: {found}")


class Broker(faulty.Faulty):
    """Starts with the next round's faults; when one hits the start itself, that round is over."""

    def __init__(self, options, dice, ledger):
        super().__init__(options.leveret, options.library, options.set)
        self.ledger, self.lie = ledger, options.lie
        self.dice, self.kinds = dice, options.kinds.split(",")
        self.counts, self.round = collections.Counter(), None

    def start(self):
        while True:
            self.round = Round(self, self.dice, self.kinds, self.counts)
            self.faults = self.round.faults
            try:
                super().start()
                return
            except brokers.BrokerFailed:
                if self.process.poll() is None or self.round.kind not in ("count", "write", "sync"):
                    raise
                self.round.judge(self.process.returncode)
                self.counts["at the start"] += 1
                self.round.look()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--leveret", required=True, metavar="PATH")
    parser.add_argument("--library", required=True, metavar="PATH", help="powerloss.so")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--kinds", default="plug,count,write,sync,kill,full,dark,term")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the broker")
    parser.add_argument("--queues", choices=crash.QUEUES, default="plain", help="as in tests/crash/run.py")
    parser.add_argument("--lie", choices=("all", "left"), help="of the disk: passes when that is found")
    parser.add_argument("--keep", action="store_true", help="leave the data of a failure behind")
    options = parser.parse_args()
    print(f"powerloss: seed {options.seed}", flush=True)
    dice, ledger = random.Random(options.seed), crash.Ledger(options.queues)
    broker = Broker(options, dice, ledger)
    broken = None
    try:
        # The first life only declares, on a sound disk.
        faulty.Faulty.start(broker)
        crash.declare(broker.address, ledger)
        broker.end(signal.SIGTERM)
        broker.start()
        first = [1, 1]
        for number in range(options.rounds):
            first = crash.one_life(broker, ledger, dice, first, lambda b, d: b.round.end(b, d))
            if ledger.wrong:
                break
            if number % 10 == 9:
                drain(broker, ledger)
                broker.start()
            if number % 50 == 49:
                print(f"{number + 1} rounds, {len(ledger.confirmed)} confirmed", flush=True)
        drain(broker, ledger)
    except (brokers.BrokerFailed, crash.links.Failure) as failure:
        broken = failure
    finally:
        if broker.process and broker.process.poll() is None:
            broker.process.kill()
    failed = report(options, broker, ledger, broken)
    if options.lie:
        said = str(broken)
        found = bool(ledger.wrong or "store check" in said or " are lost" in said or ledger.missing())
        print(f"powerloss: a disk that lies about its syncs was {'found out' if found else 'NOT FOUND OUT'}")
        failed = not found
    print(f"powerloss: {0 if failed else 1} passed, {1 if failed else 0} failed")
    return failed


def drain(broker, ledger):
    """Takes all that is there, on a sound disk: publishers outrun the consumers of a round."""
    broker.process.kill()
    broker.process.wait()
    broker.faults = {}
    faulty.Faulty.start(broker)
    crash.drain(broker, ledger)
    broker.end(signal.SIGTERM)
    lost = ledger.missing()
    if lost:
        raise brokers.BrokerFailed(f"{len(lost)} messages are lost: {lost[:10]}")


def report(options, broker, ledger, broken):
    lost = [] if broken else ledger.missing()
    if broken:
        print("FAIL", str(broken)[:1000])
    for line in ledger.wrong[:10] + [f"lost: {ident} on {queue}" for queue, ident in lost[:10]]:
        print("FAIL", line)
    print(", ".join(f"{count} x {kind}" for kind, count in sorted(broker.counts.items())))
    log = (broker.directory / "log").read_text(errors="replace")
    lost_power = re.findall(r"powerloss: .*?, (\d+) sectors and names lost, (\d+) of them", log)
    left = [int(count) for _, count in lost_power if int(count)]
    lost_all = sum(int(count) for count, _ in lost_power)
    print(f"{len(lost_power)} times the power went, with {lost_all} sectors and names; {len(left)} times "
          f"with what a killed process had left, {sum(left)} of them in all")
    print(f"{len(ledger.confirmed)} confirmed, {ledger.deliveries} deliveries, {ledger.repeats} again; "
          f"{len(lost)} lost, {len(ledger.wrong)} wrong")
    failed = bool(broken or lost or ledger.wrong or not ledger.confirmed)
    if failed:
        if not options.lie:
            print(broker.log_tail())
        if options.keep:
            broker.temporary._finalizer.detach()  # pylint: disable=protected-access
            print(f"the data is in {broker.directory}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
