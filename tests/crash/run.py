#!/usr/bin/env python3
"""run.py - kill -9 at random moments under load, over and over, and count what was promised.

Publishers with confirms feed durable queues through a fanout exchange; consumers ack some, requeue some and
keep some. The broker is killed, started again on the same data, and loaded again; at the end everything is
drained. The queues remember their producers (x-dedup-producers), and after a crash one publisher begins a bit
before its first unconfirmed message.
What must hold, checked at each delivery and at the end:
  1. every confirmed message was delivered on every queue it was routed to;
  2. a message that was seen before comes again only with the redelivered flag, though it was published again
     if it was confirmed before. (One that was not may have been seen, and lost with the crash, and be new.)
  3. first deliveries of a publisher's messages come to each consumer in the order of publishing.

--control is the negative control: after each crash the end of the journal is overwritten with zeros, as if
the broker had confirmed what it had not written. The run passes when that was found.

--queues kinds has other queues in their place: one with priorities, a quorum queue (these two have the order
of 3 for each priority), and one whose messages expire or are rejected now and then, and then are dead letters
of a further queue. A message of that one must be seen there or as a dead letter.

--queues features: retries with back-off, groups (order, and one consumer at a time), a ladder (rejected, it
waits in a queue with a ttl, and comes back), and a quorum queue with a delivery limit.
--queues delay: an x-delayed-message exchange in front, half of the messages delayed; none may come early.
--queues dedup: an exchange x-message-deduplication in front, which is all that keeps repeated ones out.
"""
import argparse
import collections
import pathlib
import random
import signal
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "wire"))
import amqp  # noqa: E402
import broker as brokers  # noqa: E402
import link as links  # noqa: E402

DEAD, LETTERS = b"crash.dead", b"crash.letters"
GROUPED, LIMITED, LADDER, STEP = b"crash.grouped", b"crash.limited", b"crash.ladder", b"crash.step"
PRIORITIES = 3
PRODUCERS = (b"x-dedup-producers", "l", 10)
WINDOW = (b"x-dedup-window", "l", 1000000)
QUEUES = {  # and their arguments
    "plain": {b"crash.a": [PRODUCERS], b"crash.b": [PRODUCERS]},
    "kinds": {b"crash.priority": [PRODUCERS, (b"x-max-priority", "l", PRIORITIES)],
              b"crash.quorum": [PRODUCERS, (b"x-queue-type", "S", b"quorum"),
                                (b"x-delivery-limit", "l", 1000000)],
              DEAD: [PRODUCERS, (b"x-message-ttl", "l", 150), (b"x-dead-letter-exchange", "S", b""),
                     (b"x-dead-letter-routing-key", "S", LETTERS)],
              LETTERS: []},
    "features": {b"crash.retry": [PRODUCERS, (b"x-retry-base", "l", 20), (b"x-retry-max", "l", 200)],
                 GROUPED: [PRODUCERS, (b"x-group-by", "S", b"header:g")],
                 LADDER: [PRODUCERS, (b"x-dead-letter-exchange", "S", b""),
                          (b"x-dead-letter-routing-key", "S", STEP)],
                 STEP: [(b"x-message-ttl", "l", 60), (b"x-dead-letter-exchange", "S", b""),
                        (b"x-dead-letter-routing-key", "S", LADDER)],
                 LIMITED: [PRODUCERS, (b"x-queue-type", "S", b"quorum"), (b"x-delivery-limit", "l", 1),
                           (b"x-dead-letter-exchange", "S", b""),
                           (b"x-dead-letter-routing-key", "S", LETTERS)],
                 LETTERS: []},
    "delay": {b"crash.a": [WINDOW], b"crash.b": [WINDOW, (b"x-max-priority", "l", PRIORITIES)]},
    "dedup": {b"crash.a": [], b"crash.quorum": [(b"x-queue-type", "S", b"quorum"),
                                                (b"x-delivery-limit", "l", 1000000)]}}
EXCHANGES = {  # other than a fanout
    "delay": (b"x-delayed-message", [(b"x-delayed-type", "S", b"fanout")]),
    "dedup": (b"x-message-deduplication", [(b"x-cache-size", "l", 1000000)])}
ORDERED = {b"crash.priority", b"crash.quorum", LIMITED, DEAD}  # by priority
MORTAL = {DEAD, LIMITED}  # their messages may be in LETTERS instead
REJECTING = {DEAD, LADDER}
FED = {LETTERS, STEP}  # by dead letters alone
GROUPS = 7
DELAY_MS = 300
TURN_MS = 50  # a delay counts from the beginning of the turn that the message was read in
EXCHANGE = b"crash.x"
REPEATER = 0  # the publisher that publishes again
WAIT_SECONDS = 30


class Ledger:
    """What was promised and what was seen, over all lives of the broker."""

    def __init__(self, kind):
        self.lock = threading.Lock()
        self.kind, self.queues = kind, QUEUES[kind]
        self.holders = {}  # of groups: (publisher, group) -> consumer and how many messages
        self.confirmed = {}  # (publisher, number) -> the life it was confirmed in
        self.seen = {queue: {} for queue in self.queues}  # id -> the life it was last seen in
        self.life, self.wrong = 0, []
        self.deliveries = self.repeats = self.kept = self.died = self.late = 0

    def confirm(self, publisher, numbers):
        with self.lock:
            for number in numbers:
                self.confirmed.setdefault((publisher, number), self.life)

    def deliver(self, queue, ident, event, last_first):
        """last_first: the last first delivery of each publisher to this consumer."""
        headers = dict((name, value) for name, _, value in event.look_up("headers") or [])
        died = queue not in FED and b"x-death" in headers
        redelivered = event.fields["redelivered"]
        due = headers.get(b"due", 0)
        with self.lock:
            self.deliveries += 1
            self.died, self.late = self.died + died, self.late + (due > 0)
            if time.time() * 1000 < due - TURN_MS:
                self.wrong.append(f"{ident} came {due - time.time() * 1000} ms early on {queue.decode()}")
            known = self.seen[queue].get(ident)
            self.seen[queue][ident] = self.life
            if known is not None:
                self.repeats += 1
                if not redelivered and not died and not self.may_be_new(queue, ident, known) and \
                        not (due and known < self.life):  # as with a dead letter
                    self.wrong.append(f"{ident} came again on {queue.decode()} without the redelivered flag "
                                      f"(seen in life {known}, now {self.life})")
            elif not redelivered and not died and queue not in FED and self.kind != "delay":
                publisher, number = ident
                line = publisher, line_of(queue, number)
                if number <= last_first[line]:
                    self.wrong.append(f"{ident} came after {last_first[line]} on {queue.decode()}")
                last_first[line] = number

    def hold(self, consumer, ident):
        """A message of a group has come to the consumer: nobody else may have one."""
        group = ident[1] % GROUPS
        with self.lock:
            holder, count = self.holders.get(group, (consumer, 0))
            if count and holder is not consumer and not holder.link.ended and holder.life == self.life:
                self.wrong.append(f"{ident} of group {group} came while another consumer had {count}")
            self.holders[group] = consumer, 1 + (count if holder is consumer else 0)

    def let_go(self, consumer, ident):
        group = ident[1] % GROUPS
        with self.lock:
            holder, count = self.holders[group]
            if holder is consumer:
                self.holders[group] = holder, count - 1

    def may_be_new(self, queue, ident, known):
        """A dead letter that was seen and lost with the crash is made again of what it was made of."""
        if queue == LETTERS:
            return known < self.life
        return ident[0] == REPEATER and known < self.confirmed.get(ident, self.life)

    def missing(self):
        letters = self.seen.get(LETTERS, {})
        return [(queue.decode(), ident) for queue in self.queues if queue not in FED
                for ident in self.confirmed
                if ident not in self.seen[queue] and not (queue in MORTAL and ident in letters)]


def priority_of(number):
    return number // 3 % PRIORITIES


def line_of(queue, number):
    """In what the messages of a queue have an order."""
    return number % GROUPS if queue == GROUPED else priority_of(number) if queue in ORDERED else 0


def connect(address):
    link = links.Link(address, WAIT_SECONDS)
    link.start(b"guest", b"guest")
    link.tune()
    link.open()
    link.call(1, "channel.open")
    return link


class Worker(threading.Thread):
    """A client that works until its connection breaks or it is told to stop."""

    def __init__(self, address, ledger, seed):
        super().__init__(daemon=True)
        self.link, self.ledger, self.random = connect(address), ledger, random.Random(seed)
        self.stopping = threading.Event()
        self.error = None

    def run(self):
        try:
            self.work()
        except links.Failure as failure:
            if not self.link.ended and not self.stopping.is_set():
                self.error = f"{type(self).__name__}: {failure}"

    def pump(self, seconds):
        """Reads what is there for a while; False when the broker is gone."""
        try:
            alive = self.link.receive(time.monotonic() + seconds)
        except links.Failure:
            return not self.link.ended  # nothing came
        self.link.cut_frames()
        return alive


class Publisher(Worker):
    def __init__(self, address, ledger, seed, name, first):
        super().__init__(address, ledger, seed)
        self.name_of_publisher, self.next = name, first
        self.base, self.open = first - 1, set()
        self.link.call(1, "confirm.select")

    def work(self):
        while not self.stopping.is_set() and not self.link.ended:
            if len(self.open) < 500:
                self.burst(self.random.randint(1, 60))
            if not self.pump(0.02 if len(self.open) < 500 else 1):
                return
            self.take_confirms()

    def burst(self, count):
        frames = b""
        for _ in range(count):
            padding = b"x" * self.random.choice((0, 10, 300, 5000))
            body = b"%d:%d:" % (self.name_of_publisher, self.next) + padding
            frames += amqp.publish_frames(1, {"exchange": EXCHANGE, "routing_key": b""},
                                          self.properties(), body,
                                          self.link.frame_max)
            self.open.add(self.next)
            self.next += 1
        self.link.send(frames)

    def properties(self):
        name = b"%d:%d" % (self.name_of_publisher, self.next)
        headers = [(b"x-producer", "S", b"%d" % self.name_of_publisher), (b"x-sequence", "l", self.next),
                   (b"x-deduplication-header", "S", name), (b"g", "l", self.next % GROUPS)]
        if self.ledger.kind == "delay" and self.random.random() < 0.5:
            delay = self.random.randint(1, DELAY_MS)
            headers += [(b"x-delay", "l", delay), (b"due", "l", int(time.time() * 1000) + delay)]
        return amqp.write_properties({"delivery_mode": 2, "priority": priority_of(self.next),
                                      "message_id": name, "headers": headers})

    def first_doubtful(self):
        """The first message that may not have been taken."""
        return min(self.open, default=self.next)

    def take_confirms(self):
        events = self.link.events[1]
        while events:
            event = events.popleft()
            tag = event.fields["delivery_tag"] + self.base
            done = {n for n in self.open if n <= tag} if event.fields["multiple"] else {tag}
            self.open -= done
            if event.name == "basic.ack":
                self.ledger.confirm(self.name_of_publisher, done)


class Consumer(Worker):
    """keeps: acks most, requeues some, keeps some; else acks all (the last drain)."""

    def __init__(self, address, ledger, seed, queue, keeps):
        super().__init__(address, ledger, seed)
        self.queue, self.keeps, self.idle_since = queue, keeps, time.monotonic()
        self.last_first = collections.defaultdict(int)
        self.life = ledger.life
        self.link.call(1, "basic.qos", prefetch_count=10 if queue == GROUPED else 100)
        self.link.call(1, "basic.consume", queue=queue)

    def work(self):
        while not self.stopping.is_set() and not self.link.ended:
            alive = self.pump(0.2)
            self.take_deliveries()
            if not alive:
                return

    def take_deliveries(self):
        events = self.link.events[1]
        while events and events[0].complete():
            event = events.popleft()
            publisher, number, _ = event.body.split(b":", 2)
            ident = int(publisher), int(number)
            self.ledger.deliver(self.queue, ident, event, self.last_first)
            if self.queue == GROUPED:
                self.ledger.hold(self, ident)
            self.settle(event.fields["delivery_tag"], ident)
            self.idle_since = time.monotonic()

    def settle(self, tag, ident):
        dice = self.random.random() if self.keeps else 0
        if self.queue == GROUPED and (dice < 0.92 or self.ledger.kept % 50):
            self.ledger.let_go(self, ident)
        if dice < 0.85:
            self.link.send_method(1, "basic.ack", delivery_tag=tag)
        elif dice < 0.92:
            self.link.send_method(1, "basic.nack", delivery_tag=tag, requeue=1)
        elif self.ledger.kept % 50:  # now and then one stays unacked until the end of this life
            self.link.send_method(1, "basic.reject", delivery_tag=tag,
                                  requeue=int(self.queue not in REJECTING))
            self.ledger.kept += 1
        else:
            self.ledger.kept += 1


def declare(address, ledger):
    link = connect(address)
    kind, arguments = EXCHANGES.get(ledger.kind, (b"fanout", []))
    link.call(1, "exchange.declare", exchange=EXCHANGE, type=kind, durable=1, arguments=arguments)
    for queue, arguments in ledger.queues.items():
        link.call(1, "queue.declare", queue=queue, durable=1, arguments=arguments)
        if queue not in FED:
            link.call(1, "queue.bind", queue=queue, exchange=EXCHANGE)
    link.close()


def kill(broker, dice):
    """The end of a life: kill -9, at a random moment."""
    time.sleep(dice.uniform(0.05, broker.life_seconds))  # the moment of the crash is what varies
    broker.process.send_signal(signal.SIGKILL)
    broker.process.wait()


def kill_and_cut(broker, dice):
    """The same, and the end of the newest part of the journal is gone."""
    kill(broker, dice)
    data = broker.directory / "data"
    newest = max(data.glob("journal-*.seg"), key=lambda path: path.stat().st_mtime_ns)
    content = bytearray(newest.read_bytes())
    end = len(content.rstrip(b"\0"))
    begin = max(4096, end - 64 * 1024)
    content[begin:end] = bytes(end - begin)
    newest.write_bytes(content)


def one_life(broker, ledger, dice, first, crash=kill):
    """Loads the broker until it crashes and starts it again; returns the publishers' next numbers."""
    ledger.life += 1
    makers = [lambda p=p: Publisher(broker.address, ledger, dice.random(), p, first[p])
              for p in range(len(first))]
    makers += [lambda q=q: Consumer(broker.address, ledger, dice.random(), q, True)
               for q in ledger.queues if q != STEP for _ in range(2)]
    workers, following = [], list(first)
    try:
        for make in makers:
            workers.append(make())
            workers[-1].start()
    except (links.Failure, OSError):
        broker.process.wait(WAIT_SECONDS)  # no harm if it crashed already
    crash(broker, dice)
    for worker in workers:
        worker.join(WAIT_SECONDS)
        if worker.error:
            ledger.wrong.append(worker.error)
        if isinstance(worker, Publisher):
            following[worker.name_of_publisher] = worker.next
            if worker.name_of_publisher == REPEATER:
                following[REPEATER] = max(1, worker.first_doubtful() - dice.randint(0, 300))
    broker.start()
    return following


def drain(broker, ledger):
    ledger.life += 1
    consumers = [Consumer(broker.address, ledger, 1, queue, False) for queue in ledger.queues
                 if queue != STEP]
    for consumer in consumers:
        consumer.start()
    probe = connect(broker.address)
    idle = 0
    while idle < WAIT_SECONDS:
        ready = sum(probe.call(1, "queue.declare", queue=queue, passive=1).fields["message_count"]
                    for queue in ledger.queues)
        idle = min(time.monotonic() - consumer.idle_since for consumer in consumers)
        if ready == 0 and idle > (1.5 if ledger.kind in ("delay", "features") else 0.5):
            break
        time.sleep(0.05)
    for consumer in consumers:
        consumer.stopping.set()
        consumer.join(WAIT_SECONDS)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--leveret", required=True, metavar="PATH")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the broker")
    parser.add_argument("--life", type=float, default=1.2, metavar="SECONDS", help="at most, of a round")
    parser.add_argument("--control", action="store_true", help="cut the journal: passes when that is found")
    parser.add_argument("--queues", choices=QUEUES, default="plain")
    options = parser.parse_args()
    print(f"crash: seed {options.seed}", flush=True)
    dice, ledger = random.Random(options.seed), Ledger(options.queues)
    broker = brokers.Leveret(options.leveret, options.set)
    broker.life_seconds = options.life
    broker.start()
    try:
        declare(broker.address, ledger)
        first = [1, 1]
        for _ in range(options.rounds):
            first = one_life(broker, ledger, dice, first, kill_and_cut if options.control else kill)
            if ledger.wrong:
                break
        drain(broker, ledger)
        broker.end(signal.SIGTERM)
    finally:
        if broker.process.poll() is None:
            broker.process.kill()
    lost = ledger.missing()
    for line in ledger.wrong[:10] + [f"lost: {ident} on {queue}" for queue, ident in lost[:10]]:
        print("FAIL", line)
    print(f"{ledger.life - 1} crashes, {len(ledger.confirmed)} confirmed, {ledger.deliveries} deliveries, "
          f"{ledger.repeats} of them again, {ledger.died} back as dead letters, {ledger.late} delayed; "
          f"{len(lost)} lost, {len(ledger.wrong)} wrong")
    failed = bool(lost or ledger.wrong)
    if options.control:
        print(f"crash: a journal that was cut was {'found out' if failed else 'NOT FOUND OUT'}")
        failed = not failed
    print(f"crash: {0 if failed else 1} passed, {1 if failed else 0} failed")
    return failed


if __name__ == "__main__":
    sys.exit(main())
