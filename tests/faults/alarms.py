#!/usr/bin/env python3
"""alarms.py - the memory and the disk alarm of the built broker, from the first byte to the last.

Publishers that outrun the disk, with and without the capability connection.blocked, go on until all is
confirmed; a consumer and a client that only asks are there, too.
What must hold in each case: the alarm goes off and clears; who publishes and has the capability is told,
once each time; who has not is told nothing, and held up all the same; nobody else is; heartbeats keep all of
them, blocked for seconds or not; what was confirmed is there, in order.
  memory   a transaction takes all there is, and goes; more is published than there is memory, and queues go
           to disk: the alarm clears by that alone
  disk     free space falls below disk_free_limit while consumers go on, and comes back
  full     the same without a byte left: what is under way is confirmed when there is space
"""
import argparse
import collections
import pathlib
import select
import signal
import socket
import struct
import sys
import time

import faulty
from faulty import brokers

import amqp  # noqa: E402  (tests/wire, which faulty puts on the path)
import link as links  # noqa: E402

WAIT_SECONDS = 90
MB = 1 << 20
QUEUE = b"alarms"


class Wrong(Exception):
    """Something did not come out as it should."""


def expect(condition, text):
    if not condition:
        raise Wrong(text)


class Client:
    """A connection with heartbeats of a second that never waits for one thing alone."""

    def __init__(self, broker, capable=True):
        self.link = links.Link(broker.address, WAIT_SECONDS)
        self.link.start(b"guest", b"guest", capabilities=links.CAPABILITIES if capable else [])
        self.link.tune(heartbeat=1)
        self.link.open()
        self.link.call(1, "channel.open")
        self.unsent, self.beaten = b"", time.monotonic()
        self.told = []  # connection.blocked and .unblocked

    def start(self):
        self.link.socket.setblocking(False)

    def step(self, readable, writable):
        """What there is to do now, without waiting."""
        if readable:
            expect(self.link.receive(time.monotonic() + 1), "a connection was closed")
            self.link.socket.setblocking(False)
            self.link.cut_frames()
            while self.link.events[0]:
                event = self.link.events[0].popleft()
                expect(event.name in ("connection.blocked", "connection.unblocked"), f"got {event}")
                self.told.append(event.name.split(".")[1])
            while self.link.events[1] and self.link.events[1][0].name != "basic.deliver" or (
                    self.link.events[1] and self.link.events[1][0].complete()):
                self.take(self.link.events[1].popleft())
        self.fill()
        if not self.unsent and time.monotonic() - self.beaten > 0.4:
            self.unsent, self.beaten = b"\x08\0\0\0\0\0\0\xce", time.monotonic()
        if writable and self.unsent:
            self.unsent = self.unsent[self.link.socket.send(self.unsent):]

    def fill(self):
        """More to be sent."""

    def take(self, event):
        raise Wrong(f"got {event}")


class Publisher(Client):
    """Persistent messages that begin with its name and their number, all of them confirmed in the end."""

    def __init__(self, broker, name, count, size, capable=True):
        super().__init__(broker, capable)
        self.name, self.count, self.size, self.next, self.confirmed = name, count, size, 0, 0
        self.link.call(1, "confirm.select")
        self.start()

    def fill(self):
        while len(self.unsent) < 256 * 1024 and self.next < self.count:
            body = (b"%s %d " % (self.name, self.next)).ljust(self.size, b"x")
            self.unsent += amqp.publish_frames(1, {"exchange": b"", "routing_key": QUEUE},
                                               amqp.write_properties({"delivery_mode": 2}), body, 131072)
            self.next += 1

    def take(self, event):
        expect(event.name == "basic.ack", f"got {event}")
        tag = event.fields["delivery_tag"]
        self.confirmed = tag if event.fields["multiple"] else self.confirmed + 1

    def is_done(self):
        return self.confirmed == self.count


class Hoarder(Client):
    """A transaction that is never committed: nothing else than memory has room for it."""

    def __init__(self, broker, count):
        super().__init__(broker, capable=False)
        self.left = count
        self.link.call(1, "tx.select")
        self.start()

    def fill(self):
        while len(self.unsent) < MB and self.left:
            self.unsent += amqp.publish_frames(1, {"exchange": b"", "routing_key": QUEUE},
                                               amqp.write_properties({"delivery_mode": 2}), b"x" * MB, 131072)
            self.left -= 1

    def vanish(self):
        """Without a word: it is blocked, and who is blocked is not listened to."""
        self.link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.link.socket.close()


class Consumer(Client):
    """Acks what comes; each publisher's messages come in order, and none twice."""

    def __init__(self, broker, prefetch=100):
        super().__init__(broker)
        self.last, self.taken = collections.defaultdict(lambda: -1), 0
        self.link.call(1, "basic.qos", prefetch_count=prefetch)
        self.link.call(1, "basic.consume", queue=QUEUE)
        self.start()

    def take(self, event):
        name, number, _ = event.body.split(b" ", 2)
        expect(int(number) == self.last[name] + 1, f"{number} of {name} came after {self.last[name]}")
        self.last[name] += 1
        self.taken += 1
        self.unsent += amqp.write_frame(amqp.METHOD, 1, amqp.write_method(
            "basic.ack", {"delivery_tag": event.fields["delivery_tag"]}))


class Asker(Client):
    """Declares over and over: it must be answered, alarm or not."""

    def __init__(self, broker):
        super().__init__(broker)
        self.answers, self.asked = 0, False
        self.start()

    def fill(self):
        if not self.asked:
            self.asked = True
            self.unsent += amqp.write_frame(amqp.METHOD, 1, amqp.write_method(
                "queue.declare", {"queue": QUEUE, "passive": 1}))

    def take(self, event):
        expect(event.name == "queue.declare-ok", f"got {event}")
        self.answers, self.asked = self.answers + 1, False


def work(broker, clients, until, what, seconds=WAIT_SECONDS):
    """All clients do what they do until it is so."""
    deadline = time.monotonic() + seconds
    by_socket = {client.link.socket: client for client in clients}
    while not until():
        expect(time.monotonic() < deadline, f"waited {seconds} s until {what}")
        expect(broker.process.poll() is None, "the broker has ended")
        for client in clients:
            client.step(False, False)
        eager = [one for one, client in by_socket.items() if client.unsent]
        readable, writable, _ = select.select(by_socket, eager, [], 0.1)
        for one, client in by_socket.items():
            client.step(one in readable, one in writable)


def expect_told(capable, others):
    """Blocked, unblocked, blocked, unblocked …, and only who may be told."""
    for client in capable:
        expect(client.told == ["blocked", "unblocked"] * (len(client.told) // 2), f"told {client.told}")
        expect(client.told, "a publisher was told nothing")
    for client in others:
        expect(not client.told, f"somebody else was told {client.told}")


def drain(broker, publishers, clients, consumer):
    count = sum(publisher.count for publisher in publishers)
    work(broker, clients, lambda: consumer.taken == count, f"all {count} messages are consumed")


def begin(broker):
    broker.start()
    helper = Client(broker)
    helper.link.call(1, "queue.declare", queue=QUEUE, durable=1)
    helper.link.close()


def memory(broker, _):
    begin(broker)
    publishers = [Publisher(broker, b"p%d" % i, 12000, 4000, capable=i < 3) for i in range(4)]
    asker, hoarder = Asker(broker), Hoarder(broker, 48)
    clients = [*publishers, asker]
    alarm = "memory resource limit alarm"
    work(broker, [*clients, hoarder], lambda: broker.count_in_log(alarm + " set"), "the alarm goes off")
    work(broker, [*clients, hoarder], lambda: all(p.told for p in publishers[:3]), "publishers are told")
    answers = asker.answers
    work(broker, [*clients, hoarder], lambda: asker.answers > answers, "the one who asks is answered")
    expect(any(not p.is_done() for p in publishers), "nobody was held up")
    hoarder.vanish()
    work(broker, clients, lambda: all(p.is_done() for p in publishers), "all is confirmed")
    sets = broker.count_in_log(alarm + " set")
    work(broker, clients, lambda: broker.count_in_log(alarm + " cleared") >= sets, "the alarm clears")
    answers = asker.answers
    consumer = Consumer(broker)
    drain(broker, publishers, [*clients, consumer], consumer)
    work(broker, clients, lambda: asker.answers > answers, "the one who asks is answered")
    expect_told(publishers[:3], [publishers[3], asker, consumer])
    return f"{sets} alarms, {asker.answers} answers"


def short_of_space(broker, begins, ends, blocked_log):
    """Publishers, a consumer; then space is short for some seconds."""
    begin(broker)
    publishers = [Publisher(broker, b"p%d" % i, 1 << 40, 1000, capable=i < 2) for i in range(3)]
    consumer, asker = Consumer(broker), Asker(broker)
    clients = [*publishers, consumer, asker]
    work(broker, clients, lambda: all(p.confirmed > 1000 for p in publishers), "it runs")
    begins()
    # Paced publishers are told when they are read again.
    work(broker, clients, lambda: broker.count_in_log(blocked_log), "the alarm goes off")
    work(broker, clients, lambda: all(p.told for p in publishers[:2]), "publishers are told")
    for publisher in publishers:  # an end, for what is under way now is all that still comes
        publisher.count = publisher.next
    beats = [client.link.heartbeats for client in clients]
    work(broker, clients,
         lambda: all(c.link.heartbeats >= b + 4 for c, b in zip(clients, beats) if c is not asker),
         "heartbeats come to who is blocked")
    answers = asker.answers
    work(broker, clients, lambda: asker.answers > answers, "the one who asks is answered")
    expect(any(not p.is_done() for p in publishers), "nobody was held up")
    ends()
    work(broker, clients, lambda: all(p.is_done() for p in publishers), "all is confirmed")
    drain(broker, publishers, clients, consumer)
    work(broker, clients, lambda: all(len(p.told) == 2 for p in publishers[:2]), "publishers are told")
    expect_told(publishers[:2], [publishers[2], consumer, asker])
    return f"{consumer.taken} messages, {asker.answers} answers"


def disk(broker, directory):
    free = directory / "free"
    free.write_text(str(1 << 40))
    broker.faults = {"FREE": free}
    return short_of_space(broker, lambda: free.write_text("1000000"), lambda: free.write_text(str(1 << 40)),
                          "disk resource limit alarm set")


def full(broker, directory):
    no_space = directory / "full"
    broker.faults = {"FULL": no_space}
    return short_of_space(broker, no_space.touch, no_space.unlink, "disk resource limit alarm set")


CASES = {
    "memory": (memory, ["vm_memory_high_watermark.absolute=36MB"]),
    "disk": (disk, ["disk_free_limit.absolute=100MB"]),
    "full": (full, []),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--leveret", required=True, metavar="PATH")
    parser.add_argument("--library", required=True, metavar="PATH", help="powerloss.so")
    parser.add_argument("cases", nargs="*", choices=[[], *CASES])
    options = parser.parse_args()
    failed, chosen = 0, options.cases or CASES
    for number, name in enumerate(chosen, 1):
        function, settings = CASES[name]
        problem, said, began = "", "", time.monotonic()
        # What the library remembers of the disk is memory of the process, too.
        broker = faulty.Faulty(options.leveret, options.library if name != "memory" else None, settings)
        try:
            said = function(broker, pathlib.Path(broker.directory))
            broker.end(signal.SIGTERM)
        except (Wrong, links.Failure, brokers.BrokerFailed, OSError) as error:
            problem, failed = f" {type(error).__name__}: {error}\n{broker.log_tail()}", failed + 1
        finally:
            if broker.process and broker.process.poll() is None:
                broker.process.kill()
                broker.process.wait()
        print("not ok" if problem else "ok", number, "-", name + problem,
              f"{said} ({time.monotonic() - began:.1f} s)", flush=True)
    print(f"alarms: {len(chosen) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
