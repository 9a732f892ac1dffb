"""kombu_client.py - the core job with kombu (Python), as Celery uses it."""
import sys

from kombu import Connection, Consumer, Exchange, Producer, Queue

from checks import equal, name, run

connection = Connection(f"amqp://guest:guest@{sys.argv[1]}:{sys.argv[2]}//", heartbeat=30,
                        transport_options={"confirm_publish": True})
BINDINGS = [("direct", "key"), ("fanout", ""), ("topic", "task.#"), ("headers", "")]
EXCHANGES = {kind: Exchange(name(kind), kind, durable=True) for kind, _ in BINDINGS}
WANTED = {"x-match": "all", "colour": "red", "size": 7}
QUEUES = [Queue(name("q." + kind), EXCHANGES[kind], key,
                binding_arguments=WANTED if kind == "headers" else None) for kind, key in BINDINGS]


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
                                 routing_key=key.replace("#", "a.b"), compression="zlib", retry=True,
                                 headers={"colour": "red", "size": 7})
            if kind != "fanout":
                producer.publish({"task": "astray"}, exchange=EXCHANGES[kind], routing_key="other",
                                 headers={"colour": "blue"})


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


def mandatory_is_returned():
    with connection.channel() as channel:
        returned = []
        producer = Producer(channel, serializer="json", auto_declare=False,
                            on_return=lambda error, exchange, key, message: returned.append((error, key)))
        producer.publish({"x": 2}, routing_key=name("nobody"), mandatory=True)
        equal([(error.reply_code, key) for error, key in returned], [(312, name("nobody"))])


def transactions():
    # Celery leaves them alone, but a channel of kombu has them; one without confirms, that is.
    with Connection(f"amqp://guest:guest@{sys.argv[1]}:{sys.argv[2]}//") as other:
        channel = other.channel()
        channel.tx_select()
        producer = Producer(channel, serializer="json", auto_declare=False)
        producer.publish({"lost": 1}, exchange=EXCHANGES["direct"], routing_key="key")
        channel.tx_rollback()
        producer.publish({"kept": 1}, exchange=EXCHANGES["direct"], routing_key="key")
        with connection.channel() as reader:
            equal(QUEUES[0](reader).get(), None)
            channel.tx_commit()
            message = QUEUES[0](reader).get()
            equal(message.payload, {"kept": 1})
            message.ack()
            equal(QUEUES[0](reader).get(), None)


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


run([declare, publish_with_confirms, consume_in_order, requeue_is_redelivered, mandatory_is_returned,
     transactions, get_of_nothing, errors_leave_the_connection, wrong_password_is_told, clean_up])
