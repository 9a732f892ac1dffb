#!/usr/bin/env python3
"""nonsense.py - well made methods that mean nothing: nonsense.py --leveret PATH [--seed N] [--seconds N]

Clients declare, bind, publish, consume and settle by chance, with arguments and headers that the server knows
and values that are right, wrong, or at the edge: texts that are empty, too long, no text; numbers of all
widths; keys in CC. Any of it may be refused. The server has to live: it is killed and stopped now and then,
has to come back, and has to end as it should.
"""
import argparse
import random
import sys
import time

import amqp
from broker import BrokerFailed, Leveret
from link import Failure, Link

TIMEOUT = 20
FRAME_MAXES = [131072, 131072, 4096]
SETTINGS = ["consumer_timeout=200", "message_interceptors.incoming.set_header_timestamp.overwrite=true"]
CLOSE, CLOSE_OK, CONNECTION_CLOSE = b"\0\x14\0\x28", b"\0\x14\0\x29", b"\0\x0a\0\x32"

EXCHANGES = [b"", b"amq.direct", b"amq.topic", b"amq.fanout", b"amq.headers", b"amq.rabbitmq.event",
             b"amq.rabbitmq.trace", b"none", *(b"x%d" % i for i in range(8))]
QUEUES = [b"", b"amq.rabbitmq.reply-to", *(b"q%d" % i for i in range(6))]
TYPES = [b"direct", b"fanout", b"topic", b"headers", b"x-consistent-hash", b"x-modulus-hash", b"x-random",
         b"x-local-random", b"x-recent-history", b"x-delayed-message", b"x-message-deduplication", b"none"]
TEXTS = [b"", b"a", b"a.b.c", b"#", b"*.#.*", b"." * 255, b"k" * 255, b"k" * 256, b"k" * 3000,
         b"\xff\xfe", b"\0", b"1", b"1000", b"-1", b"9" * 20, b"all", b"any", b"quorum", b"lazy",
         b"routing-key", b"header:h", b"h", *EXCHANGES, *QUEUES, *TYPES]
KEYS = [text for text in TEXTS if len(text) < 256 and text != b"\xff\xfe"] + QUEUES * 4
ANY = {"t": [False, True], "b": [-128, 127], "B": [0, 255], "s": [-32768, 32767], "u": [0, 65535],
       "I": [0, 1, -1, 2, 5, 255, 256, 1000, -2**31, 2**31 - 1], "i": [0, 2**32 - 1],
       "l": [0, 1, -1, 1000, -2**63, 2**63 - 1, 315360000000, 315360000001], "L": [0, 2**63 - 1],
       "f": [0.0, 1.5, float("nan")], "d": [-1.0, float("inf"), 1e30],
       "D": [(0, 0), (255, 2**31 - 1), (2, 150)],
       "T": [0, 1, 2**63, 2**64 - 1], "V": [None], "S": TEXTS, "x": TEXTS}
SMALL = ("I", [0, 1, 2, 5, 50, 1000])
FLAG = ("t", [True])
NAMES = ("A", [[("S", b"q0")], [("S", b"q1"), ("S", b"a.b")], [("S", b"k" * 255)], [("S", b"k" * 256)]])

# What the server knows, with values that are mostly right.
OF_QUEUES = {b"x-message-ttl": SMALL, b"x-expires": SMALL, b"x-max-length": SMALL,
             b"x-max-length-bytes": SMALL,
             b"x-max-priority": SMALL, b"x-group-max": SMALL, b"x-delivery-limit": SMALL,
             b"x-group-by": ("S", [b"header:h", b"routing-key", b"property:message-id"]),
             b"x-overflow": ("S", [b"drop-head", b"reject-publish", b"reject-publish-dlx"]),
             b"x-dead-letter-exchange": ("S", EXCHANGES), b"x-dead-letter-routing-key": ("S", QUEUES),
             b"x-dead-letter-strategy": ("S", [b"at-least-once"]), b"x-consumer-timeout": SMALL,
             b"x-single-active-consumer": FLAG, b"x-queue-type": ("S", [b"classic", b"quorum"]),
             b"x-queue-mode": ("S", [b"lazy"]), b"x-retry-base": SMALL, b"x-retry-factor": SMALL,
             b"x-retry-max": SMALL, b"x-retry-jitter": SMALL, b"x-retry-limit": SMALL,
             b"x-retry-delays": ("A", [[("I", 1), ("I", 20)]]), b"x-dedup-producers": SMALL,
             b"x-dedup-window": SMALL, b"x-dedup-window-age": SMALL, b"x-message-deduplication": FLAG,
             b"x-cache-size": SMALL, b"x-cache-ttl": SMALL,
             b"x-cache-persistence": ("S", [b"memory", b"disk"])}
OF_EXCHANGES = {b"alternate-exchange": ("S", EXCHANGES), b"x-delayed-type": ("S", TYPES),
                b"x-delayed-message": FLAG, b"x-recent-history-length": SMALL, b"hash-header": ("S", [b"h"]),
                b"hash-property": ("S", [b"message_id", b"correlation_id", b"timestamp"]),
                b"x-message-deduplication": FLAG, b"x-cache-size": SMALL, b"x-cache-ttl": SMALL}
OF_BINDINGS = {b"x-match": ("S", [b"all", b"any", b"any-with-x"]), b"h": ("S", [b"1", b"a"]), b"x-h": SMALL}
OF_CONSUMERS = {b"x-priority": SMALL, b"x-consumer-timeout": SMALL}
OF_MESSAGES = {b"CC": NAMES, b"BCC": NAMES, b"x-delay": SMALL, b"x-deliver-at": ("T", [0, 1]),
               b"x-deduplication-header": ("S", [b"1", b"2"]), b"x-producer": ("S", [b"p"]),
               b"x-sequence": SMALL,
               b"x-cache-ttl": SMALL, b"x-recent-history-no-store": FLAG, b"x-death": ("A", [[("F", [])]]),
               b"x-retry-count": SMALL, b"x-delivery-count": SMALL, b"x-first-death-queue": ("S", QUEUES),
               b"h": ("S", [b"1", b"2", b"a"]), b"n" * 255: FLAG, b"": FLAG}


class Client:
    """Says things by chance on four channels, and reads what comes only to answer what has to be."""

    def __init__(self, broker, dice):
        self.dice = dice
        self.link = Link(broker.address, TIMEOUT)
        self.link.start(b"guest", b"guest")
        self.link.tune(frame_max=dice.choice(FRAME_MAXES))
        self.link.open()
        self.socket, self.buffer, self.open = self.link.socket, b"", set()

    def value(self, depth=0):
        kind = self.dice.choice(list(ANY) + ["S"] * 8 + ["A", "F"])
        if kind in ANY:
            return kind, self.dice.choice(ANY[kind])
        inner = [self.value(depth + 1) for _ in range(self.dice.randrange(3) if depth < 3 else 0)]
        return kind, [(b"k%d" % i, *one) for i, one in enumerate(inner)] if kind == "F" else inner

    def table(self, known, right=0.7):
        names = self.dice.sample(list(known), min(len(known), self.dice.choice([0, 0, 1, 1, 2, 3, 4])))
        fields = []
        for name in names:
            kind, values = known[name]
            good = self.dice.random() < right
            fields.append((name, kind, self.dice.choice(values)) if good else (name, *self.value()))
        return fields

    def maybe(self, chance):
        return int(self.dice.random() < chance)

    def message(self, channel):
        pick, properties = self.dice.choice, {}
        for name, chance, values in [("message_id", .3, [b"", b"1", b"m" * 255]),
                                     ("expiration", .3, [b"0", b"1", b"50", b"x", b"-1", b""]),
                                     ("priority", .2, [0, 5, 255]), ("delivery_mode", .5, [0, 1, 2, 2, 3]),
                                     ("timestamp", .1, [0, 2**64 - 1]), ("user_id", .05, [b"guest", b"x"]),
                                     ("reply_to", .2, [b"amq.rabbitmq.reply-to", b"q0"])]:
            if self.maybe(chance):
                properties[name] = pick(values)
        if self.maybe(.8):
            properties["headers"] = self.table(OF_MESSAGES, .9)
        fields = {"exchange": pick(EXCHANGES), "routing_key": pick(KEYS), "mandatory": self.maybe(.3)}
        return amqp.publish_frames(channel, fields, amqp.write_properties(properties),
                                   pick([b"", b"x", b"y" * 100, b"z" * 20000]), self.link.frame_max)

    def settlement(self):
        tag, multiple = self.dice.choice([0, 1, 2, 3, 4, 5, self.dice.randrange(50)]), self.maybe(.5)
        return self.dice.choice([("basic.ack", {"delivery_tag": tag, "multiple": multiple}),
                                 ("basic.nack", {"delivery_tag": tag, "multiple": multiple,
                                                 "requeue": self.maybe(.5)}),
                                 ("basic.reject", {"delivery_tag": tag, "requeue": self.maybe(.4)})])

    def declaration(self):
        pick, maybe = self.dice.choice, self.maybe
        ends = {"routing_key": pick(KEYS), "arguments": self.table(OF_BINDINGS, .7)}
        return pick([("queue.declare", {"queue": pick(QUEUES), "durable": maybe(.6), "exclusive": maybe(.2),
                                        "auto_delete": maybe(.1), "passive": maybe(.05),
                                        "arguments": self.table(OF_QUEUES)}),
                     ("exchange.declare", {"exchange": pick(EXCHANGES), "type": pick(TYPES),
                                           "durable": maybe(.5), "auto_delete": maybe(.2),
                                           "internal": maybe(.1),
                                           "arguments": self.table(OF_EXCHANGES, .9)}),
                     (pick(["queue.bind"] * 4 + ["queue.unbind"]),
                      {"queue": pick(QUEUES), "exchange": pick(EXCHANGES), **ends}),
                     (pick(["exchange.bind"] * 3 + ["exchange.unbind"]),
                      {"destination": pick(EXCHANGES), "source": pick(EXCHANGES), **ends})])

    def other(self):
        pick, maybe = self.dice.choice, self.maybe
        return pick([("basic.consume", {"queue": pick(QUEUES), "consumer_tag": pick([b"", b"c0", b"c1"]),
                                        "no_ack": maybe(.3), "exclusive": maybe(.05),
                                        "arguments": self.table(OF_CONSUMERS)})] * 4 +
                    [("basic.get", {"queue": pick(QUEUES), "no_ack": maybe(.3)})] * 5 +
                    [("basic.cancel", {"consumer_tag": b"c0"}), ("basic.recover", {"requeue": 1}),
                     ("basic.qos", {"prefetch_count": pick([0, 1, 10]), "global": maybe(.3)}),
                     ("queue.purge", {"queue": pick(QUEUES)}), ("queue.delete", {"queue": pick(QUEUES)}),
                     ("exchange.delete", {"exchange": pick(EXCHANGES)}), ("confirm.select", {}),
                     ("tx.select", {}), ("tx.commit", {}), ("tx.rollback", {}),
                     ("channel.close", {"reply_code": 200})])

    def say_something(self):
        channel = self.dice.randint(1, 4)
        data = b""
        if channel not in self.open:
            data = amqp.write_frame(amqp.METHOD, channel, amqp.write_method("channel.open", {}))
            self.open.add(channel)
        if self.maybe(.4):
            data += self.message(channel)
        else:
            say = self.dice.choices([self.declaration, self.settlement, self.other], [4, 2, 3])[0]
            name, fields = say()
            if name == "channel.close":
                self.open.discard(channel)
            data += amqp.write_frame(amqp.METHOD, channel, amqp.write_method(name, fields))
        self.socket.settimeout(TIMEOUT)
        self.socket.sendall(data)

    def read(self):
        """What has come; False when the connection is at its end."""
        self.socket.setblocking(False)
        try:
            while piece := self.socket.recv(1 << 20):
                self.buffer += piece
            return False
        except BlockingIOError:
            return self.look_through()

    def look_through(self):
        at = 0
        while len(self.buffer) - at >= 8:
            size = int.from_bytes(self.buffer[at + 3:at + 7], "big")
            if len(self.buffer) - at < size + 8:
                break
            channel = int.from_bytes(self.buffer[at + 1:at + 3], "big")
            method = self.buffer[at + 7:at + 11] if self.buffer[at] == amqp.METHOD else b""
            if method == CONNECTION_CLOSE:
                return False
            if method == CLOSE:
                self.socket.settimeout(TIMEOUT)
                self.socket.sendall(amqp.write_frame(amqp.METHOD, channel,
                                                     amqp.write_method("channel.close-ok", {})))
            if method in (CLOSE, CLOSE_OK):
                self.open.discard(channel)
            at += size + 8
        self.buffer = self.buffer[at:]
        return True

    def talk(self):
        for _ in range(self.dice.randint(20, 400)):
            self.say_something()
            if self.maybe(.3) and not self.read():
                break


def run(broker, dice, seconds):
    """How many connections there were."""
    end, connections = time.monotonic() + seconds, 0
    broker.ctl(["trace_on"])
    while time.monotonic() < end:
        client = Client(broker, dice)
        try:
            client.talk()
        except OSError:
            pass  # the connection was closed while something was said; if the broker lives is asked below
        client.socket.close()
        connections += 1
        broker.check_alive()
        if dice.random() < .02:
            broker.restart(dice.choice(["kill", "term"]))
    return connections


def main():
    parser = argparse.ArgumentParser(description="Well made nonsense.")
    parser.add_argument("--leveret", metavar="PATH", required=True)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    broker = Leveret(options.leveret, SETTINGS)
    try:
        broker.start()
        connections = run(broker, random.Random(options.seed), options.seconds)
        broker.restart("term")
        broker.stop()
    except (Failure, BrokerFailed) as failure:
        print(f"FAIL with --seed {options.seed}: {failure}")
        broker.discard()
        return 1
    print(f"nonsense: {connections} connections, seed {options.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
