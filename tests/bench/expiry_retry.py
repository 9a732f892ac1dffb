#!/usr/bin/env python3
"""expiry_retry.py - what time to live, dead letters and retries cost: the broker's CPU time for a persistent
message of 100 bytes that is published, confirmed and then acked, put back once, expired or dead-lettered.
Measures, asserts nothing.

    tests/bench/expiry_retry.py --leveret build/leveret [--count 200000]
"""
import argparse
import re
import struct
import subprocess
import tempfile
import time

from idempotent import Client, cpu_s, long_field, lstr, method, publish, sstr

BATCH = 1000
PERSISTENT = (0x1000, b"\x02")
FAR = b"3600000"
TTL = long_field(b"x-message-ttl", 500)
DEAD = (sstr(b"x-dead-letter-exchange") + b"S" + lstr(b"") +
        sstr(b"x-dead-letter-routing-key") + b"S" + lstr(b"d"))
RETRY = sstr(b"x-retry-delays") + b"A" + lstr(b"l" + struct.pack(">q", 100))
# name, arguments of the queue, flags and bytes of the properties, what becomes of the messages
SCENARIOS = [
    ("acked", b"", PERSISTENT, "ack"),
    ("acked, x-message-ttl of an hour", long_field(b"x-message-ttl", int(FAR)), PERSISTENT, "ack"),
    ("acked, expiration of an hour", b"", (0x1100, b"\x02" + sstr(FAR)), "ack"),
    ("expired, x-message-ttl", TTL, PERSISTENT, "expire"),
    ("expired, x-message-ttl, dead-lettered", TTL + DEAD, PERSISTENT, "dead"),
    ("put back once, then acked", b"", PERSISTENT, "retry"),
    ("put back once, x-retry-delays, then acked", RETRY, PERSISTENT, "retry"),
]


def start(leveret, folder):
    command = [leveret, "--data-dir", folder, "--set", "listeners.tcp.default=127.0.0.1:0"]
    broker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    port = 0
    for line in broker.stdout:
        found = re.search(r"TCP listener on .*:(\d+)", line)
        port = int(found.group(1)) if found else port
        if "ready" in line:
            return broker, port
    raise SystemExit("the broker did not start")


def declare(client, queue, arguments=b"", passive=False):
    """Declares the queue, durable; returns how many messages are ready."""
    bits = b"\x01" if passive else b"\x02"
    client.socket.sendall(method(1, 50, 10, b"\0\0" + sstr(queue) + bits + lstr(arguments)))
    got = client.next()
    while got[:2] != (50, 11):  # the rest of the last delivery
        got = client.next()
    said = got[2]
    return struct.unpack(">I", said[1 + said[0]:5 + said[0]])[0]


def fill(client, count, properties):
    for done in range(0, count, BATCH):
        client.socket.sendall(publish(b"q", *properties, b"b" * 100) * BATCH)
        client.confirmed(done + BATCH)


def consume(client, count, put_back):
    """Takes all; what comes for the first time is put back when that is wanted."""
    client.call(method(1, 60, 10, struct.pack(">IHB", 0, BATCH, 0)), 60, 11)
    client.call(method(1, 60, 20, b"\0\0" + sstr(b"q") + sstr(b"c") + b"\0" + lstr(b"")), 60, 21)
    acked, answers = 0, []
    while acked < count:
        class_id, method_id, rest = client.next()
        if (class_id, method_id) != (60, 60):
            continue
        tag, redelivered = struct.unpack(">QB", rest[1 + rest[0]:10 + rest[0]])
        if put_back and not redelivered:
            answers.append(method(1, 60, 120, struct.pack(">QB", tag, 2)))
        else:
            answers.append(method(1, 60, 80, struct.pack(">QB", tag, 0)))
            acked += 1
        if len(answers) == 100 or acked == count or not client.buffer:
            client.socket.sendall(b"".join(answers))
            answers = []


def measure(leveret, count, label, arguments, properties, end):
    with tempfile.TemporaryDirectory() as folder:
        broker, port = start(leveret, folder)
        client = Client(port)
        declare(client, b"q", arguments)
        declare(client, b"d")
        cpu = cpu_s(broker.pid)
        fill(client, count, properties)
        if end in ("ack", "retry"):
            consume(client, count, end == "retry")
        dead = count if end == "dead" else 0
        while declare(client, b"q", passive=True) or declare(client, b"d", passive=True) < dead:
            time.sleep(0.05)
        cpu = cpu_s(broker.pid) - cpu
        client.socket.close()
        broker.terminate()
        broker.wait()
        print(f"{label:44} {cpu / count * 1e6:6.2f} us CPU a message", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--leveret", required=True)
    parser.add_argument("--count", type=int, default=200000)
    options = parser.parse_args()
    for scenario in SCENARIOS:
        measure(options.leveret, options.count // BATCH * BATCH, *scenario)


if __name__ == "__main__":
    main()
