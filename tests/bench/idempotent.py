#!/usr/bin/env python3
"""idempotent.py - what idempotent publishing costs: the broker's CPU time for a persistent, confirmed
message, into a queue that remembers nothing and into queues that remember. Measures, asserts nothing.

    tests/bench/idempotent.py --leveret build/leveret [--count 200000]
"""
import argparse
import os
import re
import socket
import struct
import subprocess
import tempfile
import time


def sstr(text):
    return struct.pack("B", len(text)) + text


def lstr(data):
    return struct.pack(">I", len(data)) + data


def frame(kind, channel, payload):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def method(channel, class_id, method_id, arguments=b""):
    return frame(1, channel, struct.pack(">HH", class_id, method_id) + arguments)


def publish(queue, flags, properties, body):
    head = struct.pack(">HHQH", 60, 0, len(body), flags) + properties
    return method(1, 60, 40, struct.pack(">H", 0) + sstr(b"") + sstr(queue) + b"\0") + \
        frame(2, 1, head) + frame(3, 1, body)


def long_field(name, value):
    return sstr(name) + b"l" + struct.pack(">q", value)


def header_table(i, producers):
    name = b"producer-%d" % (i % producers)
    return lstr(sstr(b"x-producer") + b"S" + lstr(name) + long_field(b"x-sequence", i + 1))


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.buffer = b""
        self.socket.sendall(b"AMQP\0\0\x09\x01")
        self.expect(10, 10)
        self.socket.sendall(method(0, 10, 11, lstr(b"") + sstr(b"PLAIN") + lstr(b"\0guest\0guest") +
                                   sstr(b"en_US")))
        self.expect(10, 30)
        self.socket.sendall(method(0, 10, 31, struct.pack(">HIH", 2047, 131072, 0)))
        self.socket.sendall(method(0, 10, 40, sstr(b"/") + sstr(b"") + b"\0"))
        self.expect(10, 41)
        self.call(method(1, 20, 10, sstr(b"")), 20, 11)
        self.call(method(1, 85, 10, b"\0"), 85, 11)

    def next(self):
        while True:
            if len(self.buffer) >= 7:
                size = struct.unpack(">I", self.buffer[3:7])[0]
                if len(self.buffer) >= size + 8:
                    payload, self.buffer = self.buffer[7:7 + size], self.buffer[size + 8:]
                    return struct.unpack(">HH", payload[:4]) + (payload[4:],)
            data = self.socket.recv(65536)
            if not data:
                raise SystemExit("the broker closed the connection")
            self.buffer += data

    def expect(self, class_id, method_id):
        got = self.next()
        if got[:2] != (class_id, method_id):
            raise SystemExit(f"got {got}")
        return got[2]

    def call(self, data, class_id, method_id):
        self.socket.sendall(data)
        return self.expect(class_id, method_id)

    def confirmed(self, count):
        last = 0
        while last < count:
            last = struct.unpack(">Q", self.expect(60, 80)[:8])[0]


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(leveret, count, label, arguments, properties):
    with tempfile.TemporaryDirectory() as folder:
        command = [leveret, "--data-dir", folder, "--set", "listeners.tcp.default=127.0.0.1:0"]
        broker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        port = 0
        for line in broker.stdout:
            found = re.search(r"TCP listener on .*:(\d+)", line)
            port = int(found.group(1)) if found else port
            if "ready" in line:
                break
        client = Client(port)
        client.call(method(1, 50, 10, struct.pack(">H", 0) + sstr(b"q") + b"\x02" + lstr(arguments)), 50, 11)
        batch, queue, body = 1000, b"q", b"b" * 100
        chunks = [b"".join(publish(queue, *properties(i), body) for i in range(at, at + batch))
                  for at in range(0, count, batch)]
        cpu, begun = cpu_s(broker.pid), time.monotonic()
        for i, chunk in enumerate(chunks):
            client.socket.sendall(chunk)
            client.confirmed((i + 1) * batch)
        cpu, took = cpu_s(broker.pid) - cpu, time.monotonic() - begun
        client.socket.close()
        broker.terminate()
        broker.wait()
        print(f"{label:44} {cpu / count * 1e6:6.2f} us CPU a message, {count / took:9.0f} messages/s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--leveret", required=True)
    parser.add_argument("--count", type=int, default=200000)
    options = parser.parse_args()
    window = long_field(b"x-dedup-window", 100000)
    producers = long_field(b"x-dedup-producers", 1000)

    def by_id(i):
        return 0x1080, b"\x02" + sstr(b"id-%d" % i)

    def by_producer(i):
        return 0x3000, header_table(i, 10) + b"\x02"

    cases = [
        ("message ids, a queue that remembers nothing", b"", by_id),
        ("message ids, x-dedup-window=100000", window, by_id),
        ("message ids, all of them repeated", window, lambda i: by_id(i % 1000)),
        ("10 producers, a queue that remembers nothing", b"", by_producer),
        ("10 producers, x-dedup-producers=1000", producers, by_producer),
    ]
    for label, arguments, properties in cases:
        measure(options.leveret, options.count, label, arguments, properties)


if __name__ == "__main__":
    main()
