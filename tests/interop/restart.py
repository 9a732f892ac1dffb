"""restart.py - what a client finds after its broker was killed or stopped: restart.py PATH-OF-LEVERET."""
import pathlib
import random
import sys

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker

from checks import equal, run

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "wire"))
import amqp  # noqa: E402
from broker import Leveret  # noqa: E402
from link import Failure, Link  # noqa: E402

COUNT = 2000
PERSISTENT = pika.BasicProperties(delivery_mode=2, content_type="text/plain", headers={"run": "restart"})
TRANSIENT = pika.BasicProperties(delivery_mode=1)

broker = Leveret(sys.argv[1])


def connect():
    connection = pika.BlockingConnection(pika.ConnectionParameters(broker.address[0], broker.address[1]))
    return connection, connection.channel()


def body(number):
    """Mostly small, now and then larger than a frame."""
    return b"%d:" % number + bytes([number % 256]) * (200000 if number % 500 == 0 else number % 97)


def fill(queue):
    """COUNT confirmed persistent messages with transient ones between them."""
    connection, channel = connect()
    channel.exchange_declare("orders", "topic", durable=True)
    channel.queue_declare(queue, durable=True)
    channel.queue_declare(queue + ".transient")
    channel.queue_bind(queue, "orders", queue + ".#")
    channel.confirm_delivery()
    for number in range(COUNT):
        channel.basic_publish("orders", f"{queue}.{number}", body(number), PERSISTENT)
        if number % 100 == 0:
            channel.basic_publish("", queue, b"transient", TRANSIENT)
            channel.basic_publish("", queue + ".transient", b"gone", PERSISTENT)
    return connection, channel


def take(channel, queue, count):
    """The next `count` deliveries as (tag, redelivered, body), none of them acked."""
    got = []
    for method, _, text in channel.consume(queue, inactivity_timeout=10):
        if method is None:
            raise AssertionError(f"only {len(got)} of {count} came")
        got.append((method.delivery_tag, method.redelivered, text))
        if len(got) == count:
            return got


def expect_gone(connection, queue):
    try:
        connection.channel().queue_declare(queue, passive=True)
    except ChannelClosedByBroker as error:
        equal(error.reply_code, 404)
    else:
        raise AssertionError(f"{queue} is still there")


def scenario(how):
    """Some acked, some delivered and not acked, most untouched: then the restart."""
    queue = "orders." + how
    connection, channel = fill(queue)
    consumer = connection.channel()
    consumer.basic_qos(prefetch_count=60)
    got = [item for item in take(consumer, queue, 60) if item[2] != b"transient"]
    acked, unacked = got[:40:2], got[1:40:2] + got[40:]
    for tag, _, _ in acked:
        consumer.basic_ack(tag)
    consumer.basic_qos(prefetch_count=60)
    # Confirmed after the acks: so these are on disk as well.
    channel.basic_publish("", queue, body(COUNT), PERSISTENT)
    broker.restart(how)
    try:
        connection.close()
    except AMQPError:
        pass
    connection, channel = connect()
    expect_gone(connection, queue + ".transient")
    gone = {text for _, _, text in acked}
    expected = [body(number) for number in range(COUNT + 1) if body(number) not in gone]
    equal(channel.queue_declare(queue, durable=True).method.message_count, len(expected))
    left = take(channel, queue, len(expected))
    equal([text[:20] for _, _, text in left], [text[:20] for text in expected])
    equal([text for _, _, text in left] == expected, True)
    delivered = {text for _, _, text in unacked}
    equal([redelivered for _, redelivered, text in left if text in delivered], [True] * len(delivered))
    channel.basic_ack(left[-1][0], multiple=True)
    channel.cancel()
    settle(channel)
    connection.close()


def settle(channel):
    """What was said before on this channel is on disk: so is a message that is confirmed after it."""
    channel.queue_declare("marks", durable=True)
    channel.confirm_delivery()
    channel.basic_publish("", "marks", b"mark", PERSISTENT)


def after_kill():
    broker.start()
    scenario("kill")


def after_sigterm():
    scenario("term")


def nothing_comes_back():
    broker.restart("kill")
    connection, channel = connect()
    equal(channel.queue_declare("orders.term", durable=True).method.message_count, 0)
    equal(channel.basic_get("orders.term")[0], None)
    connection.close()


def publish_until_killed(first, count):
    """Publishes without waiting, kills the broker once some are confirmed; the highest that was confirmed."""
    link = Link(broker.address, 10)
    link.start(b"guest", b"guest")
    link.tune()
    link.open()
    link.call(1, "channel.open")
    link.call(1, "queue.declare", queue=b"struck", durable=1)
    link.call(1, "confirm.select")
    properties = amqp.write_properties({"delivery_mode": 2})
    fields = {"routing_key": b"struck"}
    link.send(b"".join(amqp.publish_frames(1, fields, properties, b"%d" % number, 4096)
                       for number in range(first, first + count)))
    enough, confirmed = random.randrange(1, count // 2), Confirmed()
    while confirmed.highest < enough:
        confirmed.add(link.next_event(1).fields)
    broker.restart("kill")
    try:
        while True:
            confirmed.add(link.next_event(1).fields)
    except Failure:
        return confirmed.numbers(first)


class Confirmed:
    """The publish numbers that were acked, one by one or several at once."""

    def __init__(self):
        self.up_to, self.singles, self.highest = 0, set(), 0

    def add(self, ack):
        tag = ack["delivery_tag"]
        self.highest = max(self.highest, tag)
        if ack["multiple"]:
            self.up_to = max(self.up_to, tag)
        else:
            self.singles.add(tag)

    def numbers(self, first):
        return {first + tag - 1 for tag in self.singles.union(range(1, self.up_to + 1))}


def killed_while_publishing():
    """Confirmed => there, each once and in order, wherever the kill struck."""
    count, confirmed = 5000, set()
    for turn in range(3):
        confirmed |= publish_until_killed(turn * count, count)
    connection, channel = connect()
    held = channel.queue_declare("struck", durable=True).method.message_count
    got = [int(text) for _, _, text in take(channel, "struck", held)]
    equal(got, sorted(set(got)))
    equal(sorted(confirmed - set(got)), [])
    connection.close()


def stops():
    broker.stop()


try:
    run([after_kill, after_sigterm, nothing_comes_back, killed_while_publishing, stops])
finally:
    if broker.directory.exists():
        broker.discard()
