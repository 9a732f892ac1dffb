#!/usr/bin/env python3
"""pipelined.py - methods sent without waiting are answered in their order, on every channel, and an error
takes down nobody else: pipelined.py --leveret PATH [--seed N] [--rounds N]

A round opens three connections with four channels each. On each channel a client says a hundred things by
chance in one breath (declare, bind, publish, get, commit, close, open, and now and then something that closes
the channel) and knows beforehand what has to come back, and in which order. The frames of a connection's
channels are mixed. One connection ends its breath with what closes a connection: all before it has been
answered then, and the others notice nothing. (RabbitMQ cannot be asked for that much: it refuses what comes
while it commits, and an early close-ok.)
"""
import argparse
import random
import sys

import amqp
from broker import BrokerFailed, Leveret
from link import Failure, Link

TIMEOUT = 60
CHANNELS, STEPS = 4, 100
HARD = {"an unknown frame": (lambda: amqp.write_frame(4, 0, b""), 501),
        "a method on channel 0": (lambda: amqp.write_frame(amqp.METHOD, 0, amqp.write_method(
            "queue.declare", {})), 504),
        "a heartbeat on a channel": (lambda: amqp.write_frame(amqp.HEARTBEAT, 1, b""), 505),
        "a channel opened twice": (lambda: amqp.write_frame(amqp.METHOD, 1, amqp.write_method(
            "channel.open", {})), 504)}


class Talk:
    """What one channel says, and what has to be answered: (method, fields that are checked)."""

    def __init__(self, number, name, dice):
        self.number, self.name, self.dice = number, name, dice
        self.frames, self.answers = [], []
        self.messages, self.uncommitted = [], []
        self.begin()
        for step in range(STEPS):
            self.say_something(step)
        self.say("queue.delete", queue=self.queue)
        self.expect("queue.delete-ok", message_count=len(self.messages))

    def begin(self):
        """Of a channel that has just been opened."""
        self.mode = self.dice.choice(["plain", "confirm", "tx"])
        self.uncommitted = []
        self.queue = self.name
        self.say("queue.declare", queue=self.queue, durable=1)
        self.expect("queue.declare-ok", queue=self.queue, message_count=len(self.messages))
        if self.mode == "confirm":
            self.say("confirm.select")
            self.expect("confirm.select-ok")
        if self.mode == "tx":
            self.say("tx.select")
            self.expect("tx.select-ok")

    def say(self, method, **fields):
        self.frames.append(amqp.write_frame(amqp.METHOD, self.number, amqp.write_method(method, fields)))

    def expect(self, method, **fields):
        self.answers.append((method, fields))

    def publish(self, key, body, **fields):
        properties = amqp.write_properties({"delivery_mode": self.dice.choice([1, 2])})
        self.frames.append(amqp.publish_frames(self.number, {"routing_key": key, **fields}, properties, body,
                                               131072))

    def say_something(self, step):
        ways = [self.put, self.put, self.put, self.put_nowhere, self.fetch, self.fetch, self.declare,
                self.bind, self.exchange, self.qos, self.purge, self.consume, self.commit, self.commit]
        if step % 25 == 24:
            ways = [self.reopen, self.soft_error]
        self.dice.choice(ways)()

    def put(self):
        body = b"%d" % self.dice.randrange(10**6) * self.dice.choice([1, 1, 1, 3000])
        self.publish(self.queue, body)
        (self.uncommitted if self.mode == "tx" else self.messages).append(body)

    def put_nowhere(self):
        """It comes back: at once, or when it is committed."""
        body = b"nowhere %d" % self.dice.randrange(10**6)
        self.publish(self.queue + b".none", body, mandatory=1)
        if self.mode == "tx":
            self.uncommitted.append((body,))
        else:
            self.expect("basic.return", reply_code=312, body=body)

    def fetch(self):
        self.say("basic.get", queue=self.queue, no_ack=1)
        if self.messages:
            self.expect("basic.get-ok", body=self.messages.pop(0), message_count=len(self.messages))
        else:
            self.expect("basic.get-empty")

    def declare(self):
        self.say("queue.declare", queue=self.queue, passive=1)
        self.expect("queue.declare-ok", queue=self.queue, message_count=len(self.messages))

    def bind(self):
        key = b"%d" % self.dice.randrange(3)
        what = self.dice.choice(["bind", "unbind"])
        self.say("queue." + what, queue=self.queue, exchange=b"amq.topic", routing_key=self.queue + key)
        self.expect(f"queue.{what}-ok")

    def exchange(self):
        what = self.dice.choice(["declare", "delete"])
        self.say("exchange." + what, exchange=self.queue + b".x", **({"type": b"fanout", "durable": 1}
                                                                   if what == "declare" else {}))
        self.expect(f"exchange.{what}-ok")

    def qos(self):
        self.say("basic.qos", prefetch_count=self.dice.randrange(5))
        self.expect("basic.qos-ok")

    def purge(self):
        if self.dice.randrange(3) == 0:
            self.say("queue.purge", queue=self.queue)
            self.expect("queue.purge-ok", message_count=len(self.messages))
            self.messages = []

    def consume(self):
        """Of a queue that stays empty."""
        self.say("queue.declare", queue=self.queue + b".idle", durable=1, auto_delete=1)
        self.expect("queue.declare-ok", queue=self.queue + b".idle", consumer_count=0)
        self.say("basic.consume", queue=self.queue + b".idle", consumer_tag=b"c")
        self.expect("basic.consume-ok", consumer_tag=b"c")
        self.say("basic.cancel", consumer_tag=b"c")
        self.expect("basic.cancel-ok", consumer_tag=b"c")

    def commit(self):
        if self.mode != "tx":
            return
        what = self.dice.choice(["commit", "commit", "rollback"])
        self.say("tx." + what)
        for body in self.uncommitted if what == "commit" else []:
            if isinstance(body, tuple):
                self.expect("basic.return", reply_code=312, body=body[0])
            else:
                self.messages.append(body)
        self.uncommitted = []
        self.expect(f"tx.{what}-ok")

    def reopen(self):
        self.say("channel.close", reply_code=200)
        self.expect("channel.close-ok")
        self.open_again()

    def soft_error(self):
        """What follows it is dropped until close-ok, which the client says without having heard why."""
        self.say("queue.declare", queue=self.queue + b".missing", passive=1)
        self.expect("channel.close", reply_code=404)
        for _ in range(self.dice.randrange(5)):
            self.say("queue.delete", queue=self.queue)
            self.say("tx.commit")
        self.say("channel.close-ok")
        self.open_again()

    def open_again(self):
        self.say("channel.open")
        self.expect("channel.open-ok")
        self.begin()


def check(channel, talk, link):
    """Reads what has to come on one channel."""
    confirmed = 0
    for number, (method, fields) in enumerate(talk.answers):
        event = link.next_event(channel)
        while event.name == "basic.ack":
            tag = event.fields["delivery_tag"]
            if tag <= confirmed:
                raise Failure(f"{tag} was confirmed again")
            confirmed = tag
            event = link.next_event(channel)
        if event.name != method:
            raise Failure(f"answer {number} on channel {channel}: expected {method}, got {event}")
        if fields != {name: event.look_up(name) for name in fields}:
            raise Failure(f"answer {number} on channel {channel}: expected {fields}, got {event}")
        if method.startswith("channel.close"):
            confirmed = 0  # numbers begin anew


def open_link(address):
    link = Link(address, TIMEOUT)
    link.start(b"guest", b"guest")
    link.tune()
    link.open()
    for channel in range(1, CHANNELS + 1):
        link.call(channel, "channel.open")
    return link


def mix(talks, dice):
    """The frames of several channels in one row, those of each in their order. A content is one piece."""
    rest = [list(reversed(talk.frames)) for talk in talks]
    row = []
    while rest := [frames for frames in rest if frames]:
        frames = dice.choice(rest)
        row += [frames.pop() for _ in range(min(len(frames), dice.randrange(1, 8)))]
    return b"".join(row)


def run_round(address, dice, ordinal):
    links = [open_link(address) for _ in range(3)]
    rows = []
    for i, link in enumerate(links):
        talks = [Talk(channel, b"pipelined.%d.%d.%d" % (ordinal, i, channel), dice)
                 for channel in range(1, CHANNELS + 1)]
        rows.append((link, talks, mix(talks, dice)))
    name, (make, code) = dice.choice(sorted(HARD.items()))
    for link, _, data in rows:
        link.send(data + (make() if link is links[0] else b""))
    for link, talks, _ in rows:
        for talk in talks:
            check(talk.number, talk, link)
        if link is not links[0]:
            link.close()
            continue
        event = link.next_event_or_close()
        if event.name != "connection.close" or event.fields["reply_code"] != code:
            raise Failure(f"{name}: expected {code}, got {event}")
        link.drop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--leveret", metavar="PATH", required=True)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    broker = Leveret(options.leveret)
    passed = 0
    try:
        broker.start()
        for ordinal in range(options.rounds):
            run_round(broker.address, random.Random(options.seed + ordinal), options.seed + ordinal)
            passed += 1
        broker.stop()
    except (BrokerFailed, Failure, OSError) as failure:
        print(f"not ok - seed {options.seed + passed}: {failure}")
    print(f"pipelined: seed {options.seed}: {passed} passed, {options.rounds - passed} failed")
    return 0 if passed == options.rounds else 1


if __name__ == "__main__":
    sys.exit(main())
