#!/usr/bin/env python3
"""hostile_bounds.py - floods of what is no message, and peers that are slow or gone:
hostile_bounds.py --leveret PATH [scenario...]

Each scenario has a broker of its own. What is checked: the process's memory stays below what is allowed,
somebody else is served meanwhile, and what was taken is given back.
"""
import argparse
import contextlib
import socket
import ssl
import sys
import time

import amqp
import certificates
import hostile
from broker import BrokerFailed, Leveret, free_port
from hostile import (BASE, MB, TIMEOUT, back_to_normal, check, check_memory, connect, fill_queue, method,
                     resident)
from link import PROTOCOL_HEADER, Failure, Link

TOPOLOGY_MAX = 64 * MB
PEERS, PEER_BYTES_MAX, TLS_PEER_BYTES_MAX = 1000, 16 * 1024, 64 * 1024


class Bystander:
    """Has a queue before the flood begins, and uses it during it."""

    def __init__(self, broker):
        self.link = connect(broker)
        self.link.call(1, "queue.declare", queue=b"watched", exclusive=1)
        self.link.call(1, "confirm.select")

    def work(self):
        for i in range(20):
            self.link.send(hostile.publish(b"%d" % i, key=b"watched"))
            check(self.link.next_event(1).name == "basic.ack", "the bystander's message was not confirmed")
            self.link.send_method(1, "basic.get", queue=b"watched", no_ack=1)
            check(self.link.next_event(1).body == b"%d" % i, "the bystander's message is not there")

    def close(self):
        self.link.close()


# Things that are declared.

def name(number, size=255):
    return (b"%d-" % number).ljust(size, b"n")


def table(number, count):
    """Many small fields, each with a name of its own."""
    return [(b"%x-%d" % (i, number), "V", None) for i in range(count)]


def queues(number):
    return [method(1, "queue.declare", queue=name(number), exclusive=1, no_wait=1)]


def queues_with_arguments(number):
    return [method(1, "queue.declare", queue=name(number), exclusive=1, no_wait=1,
                   arguments=[(b"x", "x", b"a" * 60000)])]


def exchanges(number):
    return [method(1, "exchange.declare", exchange=name(number), type=b"topic", auto_delete=1, no_wait=1)]


def topic_bindings(number):
    """Keys that share their beginnings, so that the trie has to split them."""
    words = b".".join(b"%x" % ((number >> i) & 1) for i in range(24)) + b".x" * 100
    return [method(1, "queue.bind", queue=b"mine", exchange=b"amq.topic", routing_key=words[:255], no_wait=1)]


def headers_bindings(number):
    arguments = [(b"x-match", "S", b"any")] + table(number, 60)
    return [method(1, "queue.bind", queue=b"mine", exchange=b"amq.headers", arguments=arguments, no_wait=1)]


def hash_bindings(number):
    """Ten bindings of the largest weight are all that one exchange takes."""
    x = b"hash-%d" % (number // 10)
    frames = []
    if number % 10 == 0:
        frames.append(method(1, "exchange.declare", exchange=x, type=b"x-consistent-hash", auto_delete=1,
                             no_wait=1))
    other = b"other-%d" % (number % 10)
    frames.append(method(1, "queue.declare", queue=other, exclusive=1, no_wait=1))
    return frames + [method(1, "queue.bind", queue=other, exchange=x, routing_key=b"1000", no_wait=1)]


def consumers(number):
    return [method(1, "basic.consume", queue=b"mine", consumer_tag=name(number), no_ack=1, no_wait=1)]


def consumers_with_arguments(number):
    arguments = table(number, 400)
    return [method(1, "basic.consume", queue=b"mine", consumer_tag=name(number), no_ack=1, no_wait=1,
                   arguments=arguments)]


def flood(broker, kind, most):
    """Declares until it is refused with 406, which has to come; then all of it goes with the connection."""
    bystander, link = Bystander(broker), connect(broker)
    link.call(1, "queue.declare", queue=b"mine", exclusive=1)
    for number in range(most):
        link.send(b"".join(kind(number)))
        if number % 200 == 199:
            bystander.work()
            check_memory(broker, BASE + TOPOLOGY_MAX + 32 * MB)
            # What was refused is answered before this one is.
            link.send_method(2, "channel.open")
            first = link.next_event(2).name
            check(first == "channel.open-ok", f"got {first}")
            link.call(2, "channel.close", reply_code=200)
        if link.events[1]:
            break
    event = link.next_event(1)
    check(event.name == "channel.close" and event.fields["reply_code"] == 406, f"got {event}")
    check(b"no room for another" in event.fields["reply_text"], f"got {event}")
    check_memory(broker, BASE + TOPOLOGY_MAX + 32 * MB)
    bystander.work()
    link.send_method(1, "channel.close-ok")
    link.close()
    link = connect(broker)
    if kind is exchanges:
        for gone in range(number + 1):
            link.send_method(1, "exchange.delete", exchange=name(gone), no_wait=1)
    # There is room again.
    link.call(1, "queue.declare", queue=b"mine", exclusive=1)
    link.close()
    bystander.close()
    return number


def flooded(kind, most):
    def scenario(broker):
        print(f"    refused after {flood(broker, kind, most)} rounds")
    return scenario


# Peers before their login.

def peers_at(broker, data):
    """So many connections that have sent this and go no further; what one of them costs."""
    bystander = Bystander(broker)
    before, peers = resident(broker), []
    for _ in range(PEERS):
        peer = socket.create_connection(broker.address, timeout=TIMEOUT)
        if data:
            peer.sendall(data)
        peers.append(peer)
    bystander.work()
    hostile.check_bystander(broker)
    cost = (resident(broker) - before) // PEERS
    print(f"    {cost} bytes a connection")
    check(cost <= PEER_BYTES_MAX, f"{cost} bytes a connection")
    for peer in peers:
        peer.close()
    bystander.close()


def silent_peers(broker):
    peers_at(broker, b"")


def peers_after_header(broker):
    peers_at(broker, PROTOCOL_HEADER)


def peers_within_login(broker):
    """All but the last octet of the largest frame that is taken before the login."""
    response = b"\0guest\0" + b"p" * 8100
    fields = {"client_properties": [], "mechanism": b"PLAIN", "response": response, "locale": b"en_US"}
    start_ok = amqp.write_frame(amqp.METHOD, 0, amqp.write_method("connection.start-ok", fields))
    check(8000 < len(start_ok) <= 8192, f"{len(start_ok)} octets")
    peers_at(broker, PROTOCOL_HEADER + start_ok[:-1])


def peers_within_tls(broker):
    """Their hello is answered, and they say no more. Most of it is OpenSSL's own."""
    folder, address = broker.directory / "certificates", ("127.0.0.1", free_port())
    folder.mkdir()
    certificates.make(folder)
    broker.settings += [f"listeners.ssl.1=127.0.0.1:{address[1]}", f"ssl_options.keyfile={folder}/server.key",
                        f"ssl_options.certfile={folder}/server.pem"]
    broker.restart("term")
    bystander, tls = Bystander(broker), ssl.create_default_context()
    before, peers = resident(broker), []
    for _ in range(PEERS):
        said = ssl.MemoryBIO()
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.wrap_bio(ssl.MemoryBIO(), said, server_hostname="x").do_handshake()
        peers.append(socket.create_connection(address, timeout=TIMEOUT))
        peers[-1].sendall(said.read())
    for peer in peers:
        check(peer.recv(1) == b"\x16", "a hello was not answered")
    check("handshake" not in broker.log_text(), "some are gone already")
    bystander.work()
    cost = (resident(broker) - before) // PEERS
    print(f"    {cost} bytes a connection")
    check(cost <= TLS_PEER_BYTES_MAX, f"{cost} bytes a connection")
    for peer in peers:
        peer.close()
    bystander.close()


def frame_too_large_for_login(broker):
    """Announced, and refused before its octets come."""
    with socket.create_connection(broker.address, timeout=TIMEOUT) as peer:
        peer.sendall(PROTOCOL_HEADER + b"\x01\0\0\0\x01\0\0")
        said = b""
        while chunk := peer.recv(65536):
            said += chunk
        check(b"\x00\x0a\x00\x32" in said, "no connection.close")


# Slow and gone.

def drip_until_closed(broker, peer, data):
    """An octet at a time, slowly; the server has to end it before all is sent."""
    peer.settimeout(0.05)
    deadline = time.monotonic() + TIMEOUT
    for octet in data:
        check(time.monotonic() < deadline, "a slow peer is let be")
        try:
            peer.sendall(bytes([octet]))
            while peer.recv(65536):
                pass
            return
        except TimeoutError:
            continue
        except OSError:
            return
    raise Failure("all was taken")


def slow_header(broker):
    bystander = Bystander(broker)
    with socket.create_connection(broker.address, timeout=TIMEOUT) as peer:
        drip_until_closed(broker, peer, PROTOCOL_HEADER + b"\x01\0\0\0\0\x1f\0" +
                          b"x" * 7000)
    bystander.work()
    bystander.close()


def connect_with_heartbeat(broker):
    link = Link(broker.address, TIMEOUT)
    link.start(b"guest", b"guest")
    link.tune(heartbeat=1)
    link.open()
    link.call(1, "channel.open")
    return link


def wait_until_closed(link):
    deadline = time.monotonic() + TIMEOUT
    link.socket.settimeout(TIMEOUT)
    try:
        while link.socket.recv(1 << 20):
            check(time.monotonic() < deadline, "it is not closed")
    except OSError:
        pass


def stops_within_a_body(broker):
    """15 of 16 MB on each of eight channels, then silence: the heartbeat ends it, and the memory is free."""
    bystander, link = Bystander(broker), connect_with_heartbeat(broker)
    header = amqp.write_header(16 * MB, amqp.write_properties({}))
    link.socket.setblocking(True)
    for channel in range(1, 9):
        if channel > 1:
            link.send(method(channel, "channel.open"))
        link.send(method(channel, "basic.publish", routing_key=b"nowhere"))
        link.send(amqp.write_frame(amqp.HEADER, channel, header))
        for _ in range(120):
            link.send(amqp.write_frame(amqp.BODY, channel, b"x" * 131000))
    bystander.work()
    wait_until_closed(link)
    bystander.work()
    back_to_normal(broker)
    bystander.close()


def reads_nothing_and_is_silent(broker):
    """As a peer whose cable is cut: output waits, nothing comes. Its messages go back to the queue."""
    count = 200
    fill_queue(broker, b"hostile", count, 128 * 1024)
    link, bystander = connect_with_heartbeat(broker), Bystander(broker)
    link.send_method(1, "basic.consume", queue=b"hostile", consumer_tag=b"c")
    watcher, deadline = connect(broker), time.monotonic() + TIMEOUT
    state, seen = None, False
    while state != count or not seen:
        check(time.monotonic() < deadline, f"{state} messages are ready again")
        state = watcher.call(1, "queue.declare", queue=b"hostile", passive=1).fields["message_count"]
        seen = seen or state < count
        time.sleep(0.02)
    bystander.work()
    watcher.close()
    bystander.close()
    link.socket.close()


def asks_and_reads_nothing(broker):
    """It is not read any more for that, nor its heartbeats, if it has any. It is gone all the same."""
    link, bystander = connect_with_heartbeat(broker), Bystander(broker)
    link.call(1, "queue.declare", queue=b"hostile", exclusive=1)
    one = method(1, "queue.declare", queue=b"hostile", passive=1)
    hostile.send_until_stalled(link, one * 1000, 256 * MB)
    watcher, deadline = connect(broker), time.monotonic() + TIMEOUT
    code = 405
    while code == 405:
        check(time.monotonic() < deadline, "it still has its queue")
        watcher.send_method(1, "queue.declare", queue=b"hostile", passive=1)
        code = watcher.next_event(1).fields["reply_code"]
        watcher.send_method(1, "channel.close-ok")
        watcher.call(1, "channel.open")
        time.sleep(0.02)
    check(code == 404, f"got {code}")
    bystander.work()
    watcher.close()
    bystander.close()
    link.socket.close()


BOUND = [f"topology_memory={TOPOLOGY_MAX}"]
SCENARIOS = {
    "queues": (flooded(queues, 400000), BOUND),
    "queues_with_arguments": (flooded(queues_with_arguments, 20000), BOUND),
    "exchanges": (flooded(exchanges, 400000), BOUND),
    "topic_bindings": (flooded(topic_bindings, 400000), BOUND),
    "headers_bindings": (flooded(headers_bindings, 100000), BOUND),
    "hash_bindings": (flooded(hash_bindings, 2000), BOUND),
    "consumers": (flooded(consumers, 400000), BOUND),
    "consumers_with_arguments": (flooded(consumers_with_arguments, 20000), BOUND),
    "silent_peers": (silent_peers, []),
    "peers_after_header": (peers_after_header, []),
    "peers_within_login": (peers_within_login, []),
    "peers_within_tls": (peers_within_tls, []),
    "frame_too_large_for_login": (frame_too_large_for_login, []),
    "slow_header": (slow_header, ["handshake_timeout=1000"]),
    "stops_within_a_body": (stops_within_a_body, []),
    "reads_nothing_and_is_silent": (reads_nothing_and_is_silent, []),
    "asks_and_reads_nothing": (asks_and_reads_nothing, []),
}


def run(title, path):
    scenario, settings = SCENARIOS[title]
    broker = Leveret(path, settings)
    try:
        broker.start()
        scenario(broker)
        broker.stop()
    except (Failure, BrokerFailed, OSError) as failure:
        print(f"FAIL {title}: {failure}", flush=True)
        print(broker.log_tail() if (broker.directory / "log").exists() else "")
        if broker.process and broker.process.poll() is None:
            broker.process.kill()
            broker.process.wait()
        return False
    print(f"ok {title}", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description="Floods of what is no message; slow peers.")
    parser.add_argument("--leveret", metavar="PATH", required=True)
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS], help="without any, all of them")
    options = parser.parse_args()
    results = [run(title, options.leveret) for title in options.scenarios or SCENARIOS]
    print(f"hostile_bounds: {results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
