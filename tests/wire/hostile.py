#!/usr/bin/env python3
"""hostile.py - clients that want too much of the server: hostile.py --leveret PATH [scenario...]

Each scenario has a broker of its own. What is checked: the process's memory stays below what is allowed, and
others are served meanwhile. Memory is what the process has resident, so this is no test for sanitizers.
"""
import argparse
import select
import sys
import threading
import time

import amqp
from broker import BrokerFailed, Leveret
from link import Failure, Link, check

TIMEOUT = 30
MB = 1 << 20
# A process that has nothing to do, the buffers that it keeps, and what the allocator wastes.
BASE = 40 * MB
RESIDENT = 64 * MB  # of messages that wait: resident_memory, and what is on its way to the disk
UNACKED_MAX = 32 * MB
REPLIES_MAX, REPLY_MAX, HELD_MAX, FRAME_MAX = 2 * MB, 8 * MB, 256 * MB, 131072
WATERMARK = 128 * MB


def resident(broker):
    with open(f"/proc/{broker.process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def check_memory(broker, most):
    now = resident(broker)
    check(now <= most, f"{now // MB} MB are resident, {most // MB} MB are allowed")


def connect(broker):
    link = Link(broker.address, TIMEOUT)
    link.start(b"guest", b"guest")
    link.tune()
    link.open()
    link.call(1, "channel.open")
    return link


def publish(body, key=b"hostile", **flags):
    fields = {"exchange": b"", "routing_key": key, **flags}
    return amqp.publish_frames(1, fields, amqp.write_properties({}), body, FRAME_MAX)


def method(channel, name, **fields):
    return amqp.write_frame(amqp.METHOD, channel, amqp.write_method(name, fields))


def check_bystander(broker):
    """Somebody else publishes and gets."""
    link = connect(broker)
    link.call(1, "queue.declare", queue=b"bystander", auto_delete=1)
    link.call(1, "confirm.select")
    for i in range(20):
        link.send(publish(b"%d" % i, key=b"bystander"))
        check(link.next_event(1).name == "basic.ack", "the bystander's message was not confirmed")
        link.send_method(1, "basic.get", queue=b"bystander", no_ack=1)
        check(link.next_event(1).body == b"%d" % i, "the bystander's message is not there")
    link.close()


def send_until_stalled(link, data, most):
    """Sends `data` over and over until the server reads no more; returns how many bytes went out."""
    link.socket.setblocking(False)
    sent, stalled = 0, 0
    while sent < most and stalled < 100:
        try:
            sent += link.socket.send(data[sent % len(data):])
            stalled = 0
        except BlockingIOError:
            # Nothing for a second, with all buffers full, is a server that does not read.
            stalled += 1
            time.sleep(0.01)
    check(sent < most, f"the server took all {most // MB} MB")
    return sent


def send_some(link, data):
    """What is left of `data` after sending what fits."""
    link.socket.setblocking(False)
    try:
        return data[link.socket.send(data):] if data else data
    except BlockingIOError:
        return data


def answers_not_read(broker, request, answer, count):
    """Asks and never reads; then reads after all, and gets every answer: `count` for a request."""
    link = connect(broker)
    link.call(1, "queue.declare", queue=b"q" * 255)
    check_memory(broker, BASE)
    sent = send_until_stalled(link, request, 256 * MB)
    check_memory(broker, BASE + 2 * REPLIES_MAX)
    check_bystander(broker)
    started = sent % len(request)
    rest, left = request[started:] if started else b"", -(-sent // len(request)) * count
    while left:
        rest = send_some(link, rest)
        link.receive(time.monotonic() + TIMEOUT)
        check(not link.ended, "the connection was closed")
        link.cut_frames()
        while link.events[1]:
            event = link.events[1].popleft()
            check(event.name == answer, f"got {event}")
            left -= 1
    check_memory(broker, BASE + 2 * REPLIES_MAX)
    link.close()


def replies_not_read(broker):
    """queue.declare over and over: half a kilobyte of question and answer."""
    one = method(1, "queue.declare", queue=b"q" * 255, passive=1)
    answers_not_read(broker, one * 100, "queue.declare-ok", 100)


def returns_not_read(broker):
    """Mandatory messages that go nowhere come back."""
    one = publish(b"x" * 20000, key=b"nowhere", mandatory=1)
    answers_not_read(broker, one * 10, "basic.return", 10)


def nacks_not_read(broker):
    """Everything is refused, and nobody reads that."""
    link = connect(broker)
    link.call(1, "queue.declare", queue=b"full", arguments=[(b"x-max-length", "I", 0),
                                                           (b"x-overflow", "S", b"reject-publish")])
    link.call(1, "confirm.select")
    one = publish(b"x", key=b"full")
    sent = send_until_stalled(link, one * 1000, 256 * MB)
    check_memory(broker, BASE + 3 * REPLIES_MAX)
    check_bystander(broker)
    started = sent % len(one)
    rest, left = one[started:] if started else b"", -(-sent // len(one))
    expected = 0
    while left:
        rest = send_some(link, rest)
        link.receive(time.monotonic() + TIMEOUT)
        check(not link.ended, "the connection was closed")
        link.cut_frames()
        while link.events[1]:
            event = link.events[1].popleft()
            expected += 1
            check(event.name == "basic.nack" and event.fields["delivery_tag"] == expected, f"got {event}")
            left -= 1
    link.close()


def fill_queue(broker, name, count, size):
    """Messages for those who take too much."""
    link = connect(broker)
    link.call(1, "queue.declare", queue=name)
    link.call(1, "confirm.select")
    link.socket.setblocking(True)
    for _ in range(count):
        link.send(publish(b"x" * size, key=name))
    confirmed = 0
    while confirmed < count:
        confirmed = link.next_event(1).fields["delivery_tag"]
    link.close()


def direct_replies_not_read(broker):
    """Who asked reads none of 200 MB of answers: what is too much is dropped, who answers is served."""
    link, other = connect(broker), connect(broker)
    link.call(1, "basic.consume", queue=b"amq.rabbitmq.reply-to", no_ack=1)
    other.call(1, "queue.declare", queue=b"questions")
    other.call(1, "basic.consume", queue=b"questions", no_ack=1)
    link.send(amqp.publish_frames(1, {"exchange": b"", "routing_key": b"questions"}, amqp.write_properties(
        {"reply_to": b"amq.rabbitmq.reply-to"}), b"question", FRAME_MAX))
    address = other.next_event(1).properties["reply_to"]
    other.call(1, "confirm.select")
    for sent in range(2000):
        other.send(publish(b"x" * 100_000, key=address))
        check(other.next_event(1).name == "basic.ack", "no confirm")
        if sent % 100 == 0:
            check_memory(broker, BASE + 3 * REPLY_MAX)
    check_bystander(broker)
    # What was kept comes, the rest does not: the next answer is behind it.
    other.send(publish(b"last", key=address))
    check(other.next_event(1).name == "basic.ack", "no confirm")
    got = 0
    while got < 3 * REPLY_MAX // 100_000 and link.next_event(1).body != b"last":
        got += 1
        if got == 60:
            other.send(publish(b"last", key=address))
    check(60 <= got < 3 * REPLY_MAX // 100_000, f"{got} answers came")
    other.close()
    link.close()


def consumer_never_reads(broker):
    """256 MB wait for a consumer that does not read: what is on its way to it is bounded."""
    fill_queue(broker, b"hostile", 2000, 128 * 1024)
    link = connect(broker)
    link.call(1, "basic.consume", queue=b"hostile", consumer_tag=b"c", no_ack=1)
    time_up = time.monotonic() + 1
    while time.monotonic() < time_up:
        check_bystander(broker)
    check_memory(broker, BASE + RESIDENT + 32 * MB)
    link.close()


def consumer_never_acks(broker):
    """Prefetch 0, and nothing is ever acked: at connection_unacked_max it gets no more."""
    fill_queue(broker, b"hostile", 2000, 128 * 1024)
    link = connect(broker)
    link.call(1, "basic.consume", queue=b"hostile", consumer_tag=b"c")
    got = 0
    try:
        while link.receive(time.monotonic() + 2):  # as long as something comes
            link.cut_frames()
            while link.events[1]:
                link.events[1].popleft()
                got += 1
    except Failure:
        pass
    check(UNACKED_MAX // (128 * 1024) - 16 <= got <= UNACKED_MAX // (128 * 1024) + 32,
          f"{got} messages were delivered")
    check_memory(broker, BASE + RESIDENT + UNACKED_MAX + 32 * MB)
    check_bystander(broker)
    link.close()


def all_channels_at_once(broker):
    """2,047 channels, each with a consumer and in confirm mode."""
    link = connect(broker)
    link.call(1, "queue.declare", queue=b"hostile")
    check_memory(broker, BASE)
    data = b""
    for channel in range(2, 2048):
        data += method(channel, "channel.open") + method(channel, "confirm.select")
        data += method(channel, "basic.consume", queue=b"hostile", consumer_tag=b"c", no_ack=1)
    link.send(data)
    for channel in range(2, 2048):
        for answer in ("channel.open-ok", "confirm.select-ok", "basic.consume-ok"):
            check(link.next_event(channel).name == answer, "a channel is not served")
    check_memory(broker, BASE + 16 * MB)
    check_bystander(broker)
    link.close()


def long_queue(broker):
    """200 MB go to disk before memory is short: no alarm; then a consumer and the publisher stay level, and
    all come in order."""
    count, size, extra = 60000, 3500, 10000
    maker, taker = connect(broker), connect(broker)
    maker.call(1, "queue.declare", queue=b"hostile")
    maker.call(1, "confirm.select")

    def make(first, last):
        for number in range(first, last, 500):
            maker.send(b"".join(publish(b"%d " % n + b"x" * size, key=b"hostile")
                                for n in range(number, number + 500)))
        confirmed = 0
        while confirmed < last:
            event = maker.next_event(1)
            check(event.name == "basic.ack", f"got {event}")
            confirmed = event.fields["delivery_tag"]

    make(0, count)
    check_memory(broker, BASE + RESIDENT + 32 * MB)
    check("alarm set" not in (broker.directory / "log").read_text(errors="replace"), "memory became short")
    taker.call(1, "basic.consume", queue=b"hostile", consumer_tag=b"c", no_ack=1)
    maker_thread = threading.Thread(target=make, args=(count, count + extra))
    maker_thread.start()
    for number in range(count + extra):
        event = taker.next_event(1)
        check(event.body.startswith(b"%d " % number), f"{event.body[:10]} came instead of {number}")
    maker_thread.join(TIMEOUT)
    check_memory(broker, BASE + RESIDENT + 32 * MB)
    maker.close()
    taker.close()


def many_queues(broker):
    """200 MB in 400 queues, none of which is long: together they keep what resident_memory allows."""
    queues, each, size = 400, 150, 3500
    link = connect(broker)
    for queue in range(queues):
        link.call(1, "queue.declare", queue=b"q%d" % queue)
    link.call(1, "confirm.select")
    for number in range(each):
        link.send(b"".join(publish(b"%d " % number + b"x" * size, key=b"q%d" % queue)
                           for queue in range(queues)))
        confirmed = 0
        while confirmed < (number + 1) * queues:
            confirmed = link.next_event(1).fields["delivery_tag"]
    check_memory(broker, BASE + RESIDENT + 32 * MB)
    check_bystander(broker)
    for queue in (0, 17, queues - 1):
        link.send_method(1, "basic.consume", queue=b"q%d" % queue, consumer_tag=b"%d" % queue, no_ack=1)
        check(link.next_event(1).name == "basic.consume-ok", "no consumer")
        for number in range(each):
            event = link.next_event(1)
            check(event.body.startswith(b"%d " % number), f"{event.body[:10]} came instead of {number}")
    link.close()


def tenant_floods(broker):
    """20,000 messages of one tenant wait, then 20 others send ten each, to a queue with x-group-by. Until the
    last of these is served, the flood has had a turn for each of theirs, whoever takes them, and no more."""
    flood, others, each, workers = 20000, 20, 10, 4
    link = connect(broker)
    link.call(1, "queue.declare", queue=b"tenants", arguments=[(b"x-group-by", "S", b"property:type")])
    link.call(1, "confirm.select")

    def send(tenant, number):
        fields, body = {"exchange": b"", "routing_key": b"tenants"}, tenant + b" %d" % number
        return amqp.publish_frames(1, fields, amqp.write_properties({"type": tenant}), body, FRAME_MAX)

    link.send(b"".join(send(b"flood", number) for number in range(flood)))
    link.send(b"".join(send(b"t%d" % tenant, number) for tenant in range(others) for number in range(each)))
    confirmed = 0
    while confirmed < flood + others * each:
        confirmed = link.next_event(1).fields["delivery_tag"]
    for channel in range(2, 2 + workers):
        link.call(channel, "channel.open")
        link.call(channel, "basic.qos", prefetch_count=1)
        link.call(channel, "basic.consume", queue=b"tenants", consumer_tag=b"c")
    served, channel = {}, 2
    while sum(served.values()) - served.get(b"flood", 0) < others * each:
        event = link.next_event(channel)
        tenant, number = event.body.split()
        check(int(number) == served.get(tenant, 0), f"{event.body} is not the next of its tenant")
        served[tenant] = int(number) + 1
        link.send_method(channel, "basic.ack", delivery_tag=event.fields["delivery_tag"])
        channel = 2 + (channel - 1) % workers
    check(served[b"flood"] <= each + 1, f"{served[b'flood']} of the flood came before the last of the others")
    link.close()


def reads_slowly(broker):
    """A kilobyte at a time: others are served at once, and the process does not grow."""
    fill_queue(broker, b"hostile", 2000, 128 * 1024)
    link = connect(broker)
    link.call(1, "basic.consume", queue=b"hostile", consumer_tag=b"c", no_ack=1)
    link.socket.setblocking(True)
    for _ in range(100):
        check(link.socket.recv(1024), "the connection was closed")
        check_bystander(broker)
    check_memory(broker, BASE + RESIDENT + 32 * MB)
    link.socket.close()


def expect_506(link):
    while link.receive(time.monotonic() + TIMEOUT):
        link.cut_frames()
        if link.events[0] and link.events[0][0].name == "connection.close":
            break
    check(link.events[0] and link.events[0][0].fields["reply_code"] == 506, "not refused with 506")
    link.send_method(0, "connection.close-ok")


def send_all(link, chunks):
    """Until the server closes."""
    try:
        for chunk in chunks:
            link.socket.sendall(chunk)
    except OSError:
        pass


def back_to_normal(broker):
    """What was held is free again, and the system has it back."""
    deadline = time.monotonic() + TIMEOUT
    while resident(broker) > BASE + 24 * MB:
        check(time.monotonic() < deadline, f"{resident(broker) // MB} MB are still resident")
        time.sleep(0.05)


def many_bodies_begun(broker):
    """2,047 channels, each with a body of 16 MB on its way that never ends."""
    link = connect(broker)
    for channel in range(2, 2048):
        link.call(channel, "channel.open")
    piece, header = b"x" * 130000, amqp.write_header(16 * MB, amqp.write_properties({}))

    def bodies():
        for channel in range(1, 2048):
            yield method(channel, "basic.publish", routing_key=b"nowhere")
            yield amqp.write_frame(amqp.HEADER, channel, header)
        for _ in range(8):
            for channel in range(1, 2048):
                yield amqp.write_frame(amqp.BODY, channel, piece)
    send_all(link, bodies())
    check_memory(broker, BASE + HELD_MAX)
    expect_506(link)
    check_bystander(broker)
    back_to_normal(broker)


def large_bodies_announced(broker):
    """Who announces 16 MB and sends little of it takes little: no 506, on 500 channels."""
    link = connect(broker)
    header = amqp.write_header(16 * MB, amqp.write_properties({}))
    data = b""
    for channel in range(2, 502):
        data += method(channel, "channel.open") + method(channel, "basic.publish", routing_key=b"nowhere")
        data += amqp.write_frame(amqp.HEADER, channel, header)
        data += amqp.write_frame(amqp.BODY, channel, b"x" * 70_000) * 2
    link.send(data)
    for channel in range(2, 502):
        check(link.next_event(channel).name == "channel.open-ok", "a channel is not served")
    link.call(1, "queue.declare", queue=b"other", exclusive=1)
    check_memory(broker, BASE + 144 * MB)
    check_bystander(broker)
    link.close()


def transaction_without_end(broker):
    link = connect(broker)
    link.call(1, "tx.select")
    one = publish(b"x" * MB)
    send_all(link, (one for _ in range(400)))
    check_memory(broker, BASE + HELD_MAX + 16 * MB)
    expect_506(link)
    check_bystander(broker)
    back_to_normal(broker)


def send_until_blocked(link, data):
    """Sends `data` over and over until the server says that it reads no more."""
    sent, deadline = 0, time.monotonic() + TIMEOUT
    link.socket.setblocking(False)
    while not link.events[0]:
        check(time.monotonic() < deadline, f"not blocked after {sent // MB} MB")
        readable, writable, _ = select.select([link.socket], [link.socket], [], TIMEOUT)
        if readable:
            link.receive(deadline)
            link.cut_frames()
            link.socket.setblocking(False)
        elif writable:
            sent += link.socket.send(data[sent % len(data):])
    check(link.next_event(0).name == "connection.blocked", "expected connection.blocked")


def purge_until_unblocked(helper, link):
    """Again and again: what the socket still held may fill the queue anew."""
    deadline = time.monotonic() + TIMEOUT
    while not link.events[0]:
        check(time.monotonic() < deadline, "the alarm does not clear")
        helper.call(1, "queue.purge", queue=b"hostile")
        try:
            link.receive(time.monotonic() + 0.2)
        except Failure:
            continue
        link.cut_frames()
    check(link.next_event(0).name == "connection.unblocked", "expected connection.unblocked")


def fill_and_purge(broker, body):
    """The memory alarm for real: fills a queue until it is blocked; after a purge it may go on."""
    helper = connect(broker)
    helper.call(1, "queue.declare", queue=b"hostile")
    batch = publish(body) * max(1, 64 * 1024 // len(body))
    for _ in range(2):
        link = connect(broker)
        send_until_blocked(link, batch)
        check_memory(broker, WATERMARK + 64 * MB)
        for _ in range(20):
            state = helper.call(1, "queue.declare", queue=b"hostile", passive=1)
            check(state.fields["message_count"] > 0, "the queue is empty")
        purge_until_unblocked(helper, link)
        link.drop()


def memory_filled_with_small(broker):
    fill_and_purge(broker, b"x" * 20)


def memory_filled_with_large(broker):
    fill_and_purge(broker, b"x" * 50000)


# Queues would go to disk long before memory is short: here they may not.
LIMITED = [f"vm_memory_high_watermark.absolute={WATERMARK}", "resident_memory=1024GB",
           "queue.resident_messages=16777216", "queue.page_size=16MB"]
SCENARIOS = {
    "replies_not_read": (replies_not_read, []),
    "returns_not_read": (returns_not_read, []),
    "nacks_not_read": (nacks_not_read, []),
    "direct_replies_not_read": (direct_replies_not_read, []),
    "consumer_never_reads": (consumer_never_reads, []),
    "consumer_never_acks": (consumer_never_acks, [f"connection_unacked_max={UNACKED_MAX}"]),
    "long_queue": (long_queue, ["vm_memory_high_watermark.absolute=192MB"]),
    "long_queue_of_its_own": (long_queue, ["resident_memory=1024GB"]),
    "many_queues": (many_queues, []),
    "tenant_floods": (tenant_floods, []),
    "reads_slowly": (reads_slowly, []),
    "all_channels_at_once": (all_channels_at_once, []),
    "many_bodies_begun": (many_bodies_begun, []),
    "large_bodies_announced": (large_bodies_announced, []),
    "transaction_without_end": (transaction_without_end, []),
    "memory_filled_with_small": (memory_filled_with_small, LIMITED),
    "memory_filled_with_large": (memory_filled_with_large, LIMITED),
}


def run(name, path):
    scenario, settings = SCENARIOS[name]
    broker = Leveret(path, settings)
    try:
        broker.start()
        scenario(broker)
        broker.stop()
    except (Failure, BrokerFailed, OSError) as failure:
        print(f"FAIL {name}: {failure}", flush=True)
        print(broker.log_tail() if (broker.directory / "log").exists() else "")
        if broker.process and broker.process.poll() is None:
            broker.process.kill()
            broker.process.wait()
        return False
    print(f"ok {name}", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description="Clients that want too much of a broker.")
    parser.add_argument("--leveret", metavar="PATH", required=True)
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS], help="without any, all of them")
    options = parser.parse_args()
    results = [run(name, options.leveret) for name in options.scenarios or SCENARIOS]
    print(f"hostile: {results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
