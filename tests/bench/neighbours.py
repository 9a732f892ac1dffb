#!/usr/bin/env python3
"""neighbours.py - what a steady client feels of a hostile one beside it.

A producer and a consumer exchange 1,000 persistent, confirmed messages a second through a durable queue
(leveret-perf latency: a message counts from the moment it was due, so a stall shows in all that it delayed).
Then the same beside each of the clients below, each with a broker of its own. Measures and asserts nothing.

    tests/bench/neighbours.py --build build [--seconds 8] [NAME…]
"""
import argparse
import json
import pathlib
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "wire"))
import amqp  # noqa: E402
import broker as brokers  # noqa: E402
import link as links  # noqa: E402

TIMEOUT = 30


def connect(broker):
    link = links.Link(broker.address, TIMEOUT)
    link.start(b"guest", b"guest")
    link.tune()
    link.open()
    link.call(1, "channel.open")
    return link


def publish(body, key, mode=1):
    properties = amqp.write_properties({"delivery_mode": mode})
    return amqp.publish_frames(1, {"exchange": b"", "routing_key": key}, properties, body, 131072)


def method(channel, name, **fields):
    return amqp.write_frame(amqp.METHOD, channel, amqp.write_method(name, fields))


def fill(broker, count, size):
    link = connect(broker)
    link.call(1, "queue.declare", queue=b"hostile")
    link.call(1, "confirm.select")
    link.socket.setblocking(True)
    for _ in range(count):
        link.send(publish(b"x" * size, b"hostile"))
    confirmed = 0
    while confirmed < count:
        confirmed = link.next_event(1).fields["delivery_tag"]
    link.close()


class Hostile(threading.Thread):
    """prepare() is before the measurement; run() goes on until `over`."""

    def __init__(self, broker):
        super().__init__(daemon=True)
        self.broker, self.over = broker, threading.Event()
        self.link = None

    def prepare(self):
        self.link = connect(self.broker)

    def run(self):
        try:
            self.harm()
        except (OSError, links.Failure):
            pass

    def harm(self):
        self.over.wait()

    def send_for_ever(self, data):
        self.link.socket.settimeout(1)
        sent = 0
        while not self.over.is_set():
            try:
                sent += self.link.socket.send(data[sent % len(data):])
            except TimeoutError:
                continue

    def read_for_ever(self, size=1 << 18):
        self.link.socket.settimeout(1)
        while not self.over.is_set():
            try:
                self.link.socket.recv(size)
            except TimeoutError:
                continue
            except OSError:
                return  # it is over


class NeverReads(Hostile):
    """256 MB wait for a consumer without acks that reads nothing."""

    def prepare(self):
        fill(self.broker, 2000, 128 * 1024)
        super().prepare()
        self.link.send_method(1, "basic.consume", queue=b"hostile", no_ack=1)


class ReadsSlowly(NeverReads):
    """The same, and a kilobyte every millisecond is read."""

    def harm(self):
        while not self.over.wait(0.001):
            self.link.socket.recv(1024)


class AsksAndNeverReads(Hostile):
    """queue.declare over and over, and no answer is read."""

    def harm(self):
        self.link.call(1, "queue.declare", queue=b"hostile")
        self.send_for_ever(method(1, "queue.declare", queue=b"hostile", passive=1) * 1000)


class AllChannels(Hostile):
    """2,047 channels are opened, with a consumer each, and closed, over and over."""

    def harm(self):
        self.link.call(1, "queue.declare", queue=b"hostile")
        begin, end = b"", b""
        for channel in range(2, 2048):
            begin += method(channel, "channel.open")
            begin += method(channel, "basic.consume", queue=b"hostile", no_ack=1)
            end += method(channel, "channel.close", reply_code=200)
        threading.Thread(target=self.read_for_ever, daemon=True).start()
        self.send_for_ever(begin + end)


class NeverAcks(Hostile):
    """Prefetch 0: takes all there is up to connection_unacked_max, and acks nothing."""

    def prepare(self):
        fill(self.broker, 300000, 100)
        super().prepare()

    def harm(self):
        self.link.send_method(1, "basic.consume", queue=b"hostile")
        self.read_for_ever()


class TakesAndLeaves(NeverAcks):
    """The same, and its connection ends without a word when it has them; then it comes again."""

    def harm(self):
        while not self.over.is_set():
            self.link.send_method(1, "basic.consume", queue=b"hostile")
            self.link.socket.settimeout(0.3)
            try:
                while self.link.socket.recv(1 << 18):
                    pass
            except TimeoutError:
                self.link.socket.close()
            self.link = connect(self.broker)


class FloodsFullQueue(Hostile):
    """Publishes as fast as it is read to a queue that drops its head at 100,000 messages."""

    arguments = [(b"x-max-length", "l", 100000)]

    def harm(self):
        self.link.call(1, "queue.declare", queue=b"hostile", arguments=self.arguments)
        self.send_for_ever(publish(b"x" * 16, b"hostile") * 4000)


class FloodsDeadLetters(FloodsFullQueue):
    """The same with a dead-letter exchange."""

    arguments = FloodsFullQueue.arguments + [(b"x-dead-letter-exchange", "S", b"amq.fanout")]


class FloodsQueue(FloodsFullQueue):
    """Publishes persistent messages of a kilobyte that nobody takes."""

    arguments = []

    def harm(self):
        self.link.call(1, "queue.declare", queue=b"hostile", durable=1)
        self.send_for_ever(publish(b"x" * 1000, b"hostile", 2) * 200)


class FloodsRefused(FloodsFullQueue):
    """Publishes with confirms to a queue that refuses all, and reads the nacks."""

    arguments = [(b"x-max-length", "l", 0), (b"x-overflow", "S", b"reject-publish")]

    def harm(self):
        self.link.call(1, "confirm.select")
        threading.Thread(target=self.read_for_ever, daemon=True).start()
        super().harm()


class FloodsDeclares(Hostile):
    """Durable queues are declared and deleted as fast as it goes."""

    def harm(self):
        threading.Thread(target=self.read_for_ever, daemon=True).start()
        data = b""
        for number in range(500):
            data += method(1, "queue.declare", queue=b"hostile%d" % number, durable=1)
        for number in range(500):
            data += method(1, "queue.delete", queue=b"hostile%d" % number)
        self.send_for_ever(data)


KINDS = {"never_reads": NeverReads, "reads_slowly": ReadsSlowly, "asks_and_never_reads": AsksAndNeverReads,
         "all_channels": AllChannels, "never_acks": NeverAcks, "takes_and_leaves": TakesAndLeaves,
         "floods_queue": FloodsQueue, "floods_full_queue": FloodsFullQueue,
         "floods_dead_letters": FloodsDeadLetters, "floods_refused": FloodsRefused,
         "floods_declares": FloodsDeclares}


def measure(options, broker):
    host, port = broker.address
    command = [str(pathlib.Path(options.build) / "leveret-perf"), "latency", "-r", "1k", "-p", "--durable",
               "-c", "1000", "-s", "100", "-A", "10", "-Q", "1000", "-z", str(options.seconds), "--warmup",
               "1", "-u", "steady", "--json", "-h", f"amqp://guest:guest@{host}:{port}/%2f"]
    result = subprocess.run(command, capture_output=True, text=True, check=False,
                            timeout=options.seconds + 60)
    if result.returncode not in (0, 1):
        raise SystemExit(f"leveret-perf: {result.stderr[-500:]}")
    return json.loads(result.stdout)


def round_of(options, kind):
    broker = brokers.Leveret(str(pathlib.Path(options.build) / "leveret"))
    broker.start()
    hostile = None
    try:
        if kind:
            hostile = kind(broker)
            hostile.prepare()
            hostile.start()
            time.sleep(0.5)  # it gets going
        return measure(options, broker)
    finally:
        if hostile:
            hostile.over.set()
        broker.process.kill()
        broker.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default="build", metavar="DIR")
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--json", action="store_true", help="what leveret-perf says, line by line")
    parser.add_argument("names", nargs="*", choices=[[], *KINDS])
    options = parser.parse_args()
    print("| beside | confirms: p50 | p99 | p99.9 | deliveries: p50 | p99 | p99.9 |")
    print("|---|---|---|---|---|---|---|")
    for name in [None, *(options.names or KINDS)]:
        result = round_of(options, KINDS.get(name))
        if options.json:
            print(json.dumps(result))
            continue
        figures = " | ".join(f"{result[what][part] / 1000:.2f} ms" for what in ("confirm_us", "latency_us")
                             for part in ("p50", "p99", "p999"))
        print(f"| {name or 'alone'} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
