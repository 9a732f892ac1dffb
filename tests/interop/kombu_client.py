"""kombu_client.py - the core job with kombu (Python), as Celery uses it."""
import sys

from kombu import Connection, Consumer, Exchange, Producer, Queue

from checks import equal, name, run

connection = Connection(f"amqp://guest:guest@{sys.argv[1]}:{sys.argv[2]}//", heartbeat=30,
                        transport_options={"confirm_publish": True})
EXCHANGES = {kind: Exchange(name(kind), kind, durable=True) for kind in ("direct", "fanout", "topic")}
BINDINGS = [("direct", "key"), ("fanout", ""), ("topic", "task.#")]
QUEUES = [Queue(name("q." + kind), EXCHANGES[kind], key) for kind, key in BINDINGS]


def read(queues, count, accept=("json",)):
    got = []
    with connection.channel() as channel:
        channel.basic_qos(0, 1, False)
        with Consumer(channel, queues, callbacks=[lambda body, message: (got.append(body), message.ack())],
                      accept=accept):
            while len(got) < count:
                connection.drain_events(timeout=10)
    return got


def declare():
    for queue in QUEUES:
        queue(connection.default_channel).declare()


def publish_with_confirms():
    with connection.channel() as channel:
        producer = Producer(channel, serializer="json", auto_declare=False)
        for kind, key in BINDINGS:
            for number in range(20):
                producer.publish({"task": kind, "number": number}, exchange=EXCHANGES[kind],
                                 routing_key=key.replace("#", "a.b"), compression="zlib", retry=True)


def consume_in_order():
    for queue, (kind, _) in zip(QUEUES, BINDINGS):
        equal(read([queue], 20), [{"task": kind, "number": number} for number in range(20)])


def requeue_is_redelivered():
    queue = connection.SimpleQueue(name("simple"))
    queue.put({"x": 1})
    message = queue.get(timeout=10)
    equal(message.delivery_info["redelivered"], False)
    message.requeue()
    message = queue.get(timeout=10)
    equal((message.delivery_info["redelivered"], message.payload), (True, {"x": 1}))
    message.reject()
    equal(queue.qsize(), 0)
    queue.close()


def get_of_nothing():
    with connection.channel() as channel:
        equal(QUEUES[0](channel).get(), None)


def errors_leave_the_connection():
    with connection.channel() as channel:
        try:
            Queue(name("none"), channel=channel).queue_declare(passive=True)
        except connection.channel_errors as error:
            equal(error.reply_code, 404)
        else:
            raise AssertionError("no 404")
    equal(connection.connected, True)


def wrong_password_is_told():
    try:
        Connection(f"amqp://guest:wrong@{sys.argv[1]}:{sys.argv[2]}//").connect()
    except connection.channel_errors as error:
        equal(error.reply_code, 403)
    else:
        raise AssertionError("it was let in")


def clean_up():
    for queue in [*QUEUES, Queue(name("simple"))]:
        queue(connection.default_channel).delete()
    for exchange in [*EXCHANGES.values(), Exchange(name("simple"))]:
        exchange(connection.default_channel).delete()
    connection.release()


run([declare, publish_with_confirms, consume_in_order, requeue_is_redelivered, get_of_nothing,
     errors_leave_the_connection, wrong_password_is_told, clean_up])
