"""py_amqp_client.py - the core job with py-amqp (Python), the client under Celery."""
import sys

import amqp
from amqp.exceptions import AccessRefused, NotFound, PreconditionFailed

from checks import equal, name, run

connection = amqp.Connection(f"{sys.argv[1]}:{sys.argv[2]}", heartbeat=30, confirm_publish=False)
connection.connect()
channel = connection.channel()


def fresh_queue():
    return channel.queue_declare("", exclusive=True).queue


def read(queue, count):
    """The next bodies, acked by one multiple ack."""
    got = []
    tag = channel.basic_consume(queue, callback=got.append)
    while len(got) < count:
        connection.drain_events(timeout=10)
    channel.basic_ack(got[-1].delivery_tag, multiple=True)
    channel.basic_cancel(tag)
    return [message.body for message in got]


def declare():
    for kind in ("direct", "fanout", "topic", "headers"):
        channel.exchange_declare(name(kind), kind, durable=True, auto_delete=False)
    declared = channel.queue_declare(name("durable"), durable=True, auto_delete=False)
    equal(tuple(declared), (name("durable"), 0, 0))


def route_by_each_type():
    queue = fresh_queue()
    channel.queue_bind(queue, name("direct"), "key")
    channel.queue_bind(queue, name("fanout"))
    channel.queue_bind(queue, name("topic"), "#.last")
    channel.queue_bind(queue, name("headers"), arguments={"x-match": "any", "a": 1, "b": "two"})
    for kind, key in (("direct", "key"), ("fanout", ""), ("topic", "a.b.last"), ("headers", "")):
        channel.basic_publish(amqp.Message(kind, application_headers={"a": 1}), name(kind), key)
    equal(read(queue, 4), ["direct", "fanout", "topic", "headers"])


def exchange_to_exchange():
    queue = fresh_queue()
    channel.exchange_bind(name("fanout"), name("topic"), "through.*")
    channel.queue_bind(queue, name("fanout"))
    channel.basic_publish(amqp.Message("x"), name("topic"), "through.it")
    equal(read(queue, 1), ["x"])
    channel.exchange_unbind(name("fanout"), name("topic"), "through.*")


def publish_with_confirms_and_consume():
    publisher = connection.channel()
    for number in range(50):
        publisher.basic_publish_confirm(amqp.Message(str(number), delivery_mode=2), "", name("durable"))
    equal(channel.queue_declare(name("durable"), passive=True).message_count, 50)
    equal(read(name("durable"), 50), [str(number) for number in range(50)])
    publisher.close()


def nack_requeues_as_redelivered():
    queue = fresh_queue()
    channel.basic_publish(amqp.Message("again"), "", queue)
    message = channel.basic_get(queue)
    equal(message.delivery_info["redelivered"], False)
    channel.basic_reject(message.delivery_tag, requeue=True)
    message = channel.basic_get(queue)
    equal((message.delivery_info["redelivered"], message.body), (True, "again"))
    channel.basic_recover(requeue=True)
    equal(channel.basic_get(queue, no_ack=True).body, "again")
    equal(channel.basic_get(queue), None)


def mandatory_is_returned():
    publisher = connection.channel()
    returned = []
    publisher.events["basic_return"].add(lambda *parts: returned.append(parts))
    publisher.basic_publish_confirm(amqp.Message("back"), "", name("nobody"), mandatory=True)
    equal((returned[0][0].reply_code, returned[0][-1].body), (312, "back"))
    publisher.close()


def transactions():
    queue = fresh_queue()
    tx = connection.channel()
    tx.tx_select()
    tx.basic_publish(amqp.Message("lost"), "", queue)
    tx.tx_rollback()
    tx.basic_publish(amqp.Message("kept"), "", queue)
    tx.tx_commit()
    equal(channel.basic_get(queue, no_ack=True).body, "kept")
    equal(channel.basic_get(queue), None)
    tx.close()


def headers_and_large_bodies():
    queue = fresh_queue()
    headers = {"text": "한글", "int": 1, "long": 2**40, "float": 1.5, "yes": True, "none": None,
               "list": [1, "two", {"three": 3}]}
    sent = amqp.Message(b"\x00\xff" * 200000, application_headers=headers, priority=7)
    channel.basic_publish(sent, "", queue)
    message = channel.basic_get(queue, no_ack=True)
    equal(message.properties["application_headers"], headers)
    equal((message.properties["priority"], bytes(message.body)), (7, b"\x00\xff" * 200000))


def channel_errors_leave_the_connection():
    for error, wrong in ((NotFound, lambda c: c.queue_declare(name("none"), passive=True)),
                         (NotFound, lambda c: c.basic_consume(name("none"))),
                         (PreconditionFailed, lambda c: c.queue_declare(name("durable"), durable=False)),
                         (AccessRefused, lambda c: c.exchange_declare("amq.mine", "direct"))):
        try:
            wrong(connection.channel())
        except error:
            continue
        raise AssertionError(f"no {error}")
    connection.channel().queue_declare("", exclusive=True)


def clean_up():
    equal(channel.queue_delete(name("durable")), 0)
    for kind in ("direct", "fanout", "topic", "headers"):
        channel.exchange_delete(name(kind))
    connection.close()


run([declare, route_by_each_type, exchange_to_exchange, publish_with_confirms_and_consume,
     nack_requeues_as_redelivered, mandatory_is_returned, transactions, headers_and_large_bodies,
     channel_errors_leave_the_connection, clean_up])
