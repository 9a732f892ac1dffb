"""pika_client.py - the core job with pika (Python)."""
import sys

import pika
from pika.exceptions import ChannelClosedByBroker, UnroutableError

from checks import equal, name, run

PARAMETERS = pika.ConnectionParameters(host=sys.argv[1], port=int(sys.argv[2]), heartbeat=30,
                                       client_properties={"connection_name": "pika interop"})
connection = pika.BlockingConnection(PARAMETERS)
channel = connection.channel()
PERSISTENT = pika.BasicProperties(delivery_mode=2)


def fresh_queue(durable=False):
    """A queue of this connection, or a durable one that the last check deletes."""
    if durable:
        channel.queue_declare(name("durable"), durable=True)
        return name("durable")
    return channel.queue_declare("", exclusive=True).method.queue


def read(queue, count):
    """The next bodies, acked."""
    bodies = []
    for method, _, body in channel.consume(queue, inactivity_timeout=10):
        if method is None:
            raise AssertionError(f"only {bodies} came")
        channel.basic_ack(method.delivery_tag)
        bodies.append(body)
        if len(bodies) == count:
            channel.cancel()
            return bodies


def declare_exchanges():
    for kind in ("direct", "fanout", "topic", "headers"):
        channel.exchange_declare(name(kind), kind, durable=True)
        channel.exchange_declare(name(kind), kind, passive=True)


def declare_queues():
    declared = channel.queue_declare(fresh_queue(durable=True), durable=True).method
    equal((declared.message_count, declared.consumer_count), (0, 0))
    fresh_queue()


def route_by_each_type():
    queue = fresh_queue()
    channel.queue_bind(queue, name("direct"), "key")
    channel.queue_bind(queue, name("fanout"))
    channel.queue_bind(queue, name("topic"), "a.*.#")
    channel.queue_bind(queue, name("headers"), arguments={"x-match": "all", "colour": "red", "size": 7})
    headers = pika.BasicProperties(headers={"colour": "red", "size": 7})
    for kind, key in (("direct", "key"), ("fanout", ""), ("topic", "a.b.c"), ("headers", "")):
        channel.basic_publish(name(kind), key, kind.encode(), headers)
        channel.basic_publish(name(kind), "other", b"no") if kind != "fanout" else None
    equal(read(queue, 4), [b"direct", b"fanout", b"topic", b"headers"])
    channel.queue_unbind(queue, name("direct"), "key")


def publish_with_confirms_and_consume():
    queue = fresh_queue(durable=True)
    publisher = connection.channel()
    publisher.confirm_delivery()
    for number in range(100):
        publisher.basic_publish("", queue, str(number).encode(), PERSISTENT)
    equal(channel.queue_declare(queue, passive=True).method.message_count, 100)
    equal(read(queue, 100), [str(number).encode() for number in range(100)])
    publisher.close()


def nack_requeues_as_redelivered():
    queue = fresh_queue()
    channel.basic_publish("", queue, b"again")
    method, _, _ = next(channel.consume(queue, inactivity_timeout=10))
    equal(method.redelivered, False)
    channel.basic_nack(method.delivery_tag, requeue=True)
    method, _, body = next(channel.consume(queue, inactivity_timeout=10))
    equal((method.redelivered, body), (True, b"again"))
    channel.basic_reject(method.delivery_tag, requeue=False)
    channel.cancel()
    equal(channel.basic_get(queue)[0], None)


def prefetch_is_kept():
    queue = fresh_queue()
    other = connection.channel()
    other.basic_qos(prefetch_count=2)
    got = []
    tag = other.basic_consume(queue, lambda *delivery: got.append(delivery[1].delivery_tag))
    publisher = connection.channel()
    publisher.confirm_delivery()
    for number in range(5):
        publisher.basic_publish("", queue, b"x")
    while len(got) < 2:
        connection.process_data_events(time_limit=1)
    other.basic_qos(prefetch_count=2)
    equal(got, [1, 2])
    other.basic_ack(2, multiple=True)
    while len(got) < 4:
        connection.process_data_events(time_limit=1)
    other.basic_cancel(tag)
    other.close()
    publisher.close()


def mandatory_is_returned():
    publisher = connection.channel()
    publisher.confirm_delivery()
    try:
        publisher.basic_publish("", name("nobody"), b"back", mandatory=True)
    except UnroutableError as error:
        equal(error.messages[0].body, b"back")
        equal(error.messages[0].method.reply_code, 312)
    else:
        raise AssertionError("it was not returned")
    publisher.close()


def transactions():
    queue = fresh_queue()
    tx = connection.channel()
    tx.tx_select()
    tx.basic_publish("", queue, b"lost")
    tx.tx_rollback()
    tx.basic_publish("", queue, b"kept")
    equal(channel.basic_get(queue)[0], None)
    tx.tx_commit()
    equal(channel.basic_get(queue, auto_ack=True)[2], b"kept")
    equal(channel.basic_get(queue)[0], None)
    tx.close()


def get():
    queue = fresh_queue()
    publisher = connection.channel()
    publisher.confirm_delivery()
    headers = {"n": 1, "nested": {"list": [1, "two"]}}
    properties = pika.BasicProperties(content_type="text/plain", headers=headers, correlation_id="c",
                                      reply_to="r", message_id="m", priority=3, type="t",
                                      timestamp=1700000000, app_id="a", delivery_mode=1)
    publisher.basic_publish("", queue, b"one", properties)
    publisher.basic_publish("", queue, b"two" * 100000)
    method, got, body = channel.basic_get(queue)
    equal((method.message_count, body), (1, b"one"))
    equal(vars(got), vars(properties))
    equal(channel.basic_get(queue, auto_ack=True)[2], b"two" * 100000)
    channel.basic_ack(method.delivery_tag)
    publisher.close()


def channel_errors_leave_the_connection():
    for code, wrong in ((404, lambda c: c.queue_declare(name("none"), passive=True)),
                        (404, lambda c: c.basic_get(name("none"))),
                        (406, lambda c: c.queue_declare(name("durable"), durable=False)),
                        (403, lambda c: c.queue_declare("amq.mine"))):
        broken = connection.channel()
        try:
            wrong(broken)
        except ChannelClosedByBroker as error:
            equal(error.reply_code, code)
        else:
            raise AssertionError(f"no {code}")
    equal(connection.channel().queue_declare("", exclusive=True).method.message_count, 0)


def cancelled_by_delete():
    queue = fresh_queue()
    cancelled = []
    channel.add_on_cancel_callback(cancelled.append)
    channel.basic_consume(queue, print)
    channel.queue_delete(queue)
    while not cancelled:
        connection.process_data_events(time_limit=1)


def clean_up():
    channel.queue_delete(name("durable"))
    for kind in ("direct", "fanout", "topic", "headers"):
        channel.exchange_delete(name(kind))
    connection.close()


run([declare_exchanges, declare_queues, route_by_each_type, publish_with_confirms_and_consume,
     nack_requeues_as_redelivered, prefetch_is_kept, mandatory_is_returned, transactions, get,
     channel_errors_leave_the_connection, cancelled_by_delete, clean_up])
