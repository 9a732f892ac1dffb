#!/usr/bin/env python3
"""groups.py - what x-group-by costs, and what it is good for. Measures, asserts nothing.

    tests/bench/groups.py --leveret build/leveret --perf build/leveret-perf [--seconds 5]

First the broker's CPU time a message, with leveret-perf and four consumers: a plain queue, one with a hundred
groups, and one with a single group, which one consumer at a time has; transient and persistent. Then
fairness: a tenant floods a queue with --flood messages, then --tenants others come with ten messages each;
one consumer with a prefetch of 1. How many messages of the flood were served until the last of the others
was, and how long that took.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import pika

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import brokers  # noqa: E402

EACH = 10
GROUPED = "x-group-by=routing-key"


def measure(options, broker, arguments, durable, keys=100):
    command = [options.perf, "-h", broker.uri(), "-t", "topic", "--binding-key", "#", "-k", "k.%r", "--keys",
               str(keys), "-s", "100", "-y", "4", "-Q", "200", "-A", "10", "--lossy", "--json", "-z",
               str(options.seconds), "--warmup", "1", "--broker-pid", str(broker.pid)]
    command += ["--queue-args", arguments] if arguments else []
    command += ["-p", "--durable", "-c", "1000"] if durable else []
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return json.loads(done.stdout)


def fairness(options, broker, arguments):
    channel = pika.BlockingConnection(pika.URLParameters(broker.uri())).channel()
    channel.queue_declare("fair", arguments=arguments)

    def publish(tenant, count):
        properties = pika.BasicProperties(headers={"tenant": tenant})
        for _ in range(count):
            channel.basic_publish("", "fair", tenant.encode(), properties)

    publish("flood", options.flood)
    for tenant in range(options.tenants):
        publish(f"tenant {tenant}", EACH)
    channel.basic_qos(prefetch_count=1)
    began, flood, others = time.monotonic(), 0, 0
    for frame, _, body in channel.consume("fair"):
        flood, others = flood + (body == b"flood"), others + (body != b"flood")
        channel.basic_ack(frame.delivery_tag)
        if others == options.tenants * EACH:
            break
    seconds = time.monotonic() - began
    channel.cancel()
    channel.queue_delete("fair")
    channel.connection.close()
    return flood, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--leveret", required=True, metavar="PATH")
    parser.add_argument("--perf", required=True, metavar="PATH")
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--flood", type=int, default=20000)
    parser.add_argument("--tenants", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leveret-groups-") as folder:
        broker = brokers.Leveret(os.path.join(folder, "broker"), options.leveret)
        broker.start()
        try:
            for durable in False, True:
                for arguments, keys in (None, 100), (GROUPED, 100), (GROUPED, 1):
                    got = measure(options, broker, arguments, durable, keys)
                    print(f"{'persistent, confirmed' if durable else 'transient'}, {arguments or 'plain'}, "
                          f"{keys} keys: "
                          f"{got['broker_cpu_seconds_per_million']:.2f} us of CPU a message, "
                          f"{got['received_per_second']:,.0f} messages a second", flush=True)
            for arguments in None, {"x-group-by": "header:tenant"}:
                flood, seconds = fairness(options, broker, arguments)
                print(f"{options.tenants} tenants behind a flood of {options.flood}, "
                      f"{'groups' if arguments else 'plain'}: {flood} of it came before the last of theirs, "
                      f"{seconds * 1000:.0f} ms", flush=True)
        finally:
            broker.stop()


if __name__ == "__main__":
    main()
