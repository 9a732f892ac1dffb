#!/usr/bin/env python3
"""rabbitmq.py - runs the wire scripts against a private RabbitMQ: own folders, own ports, the plugins that
the scripts of the further exchange types want. What is behind -- goes to run.py.

rabbitmq.py [--keep] [-- run.py's arguments]
--keep leaves RabbitMQ running until Enter is pressed, and prints its address and environment.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "bench"))
import brokers  # noqa: E402

PLUGINS = ["rabbitmq_consistent_hash_exchange", "rabbitmq_random_exchange",
           "rabbitmq_recent_history_exchange", "rabbitmq_sharding", "rabbitmq_event_exchange"]


class RabbitMQ(brokers.RabbitMQ):
    ready_within = 180

    def prepare(self):
        super().prepare()
        with open(os.path.join(self.folder, "enabled_plugins"), "w", encoding="utf-8") as file:
            file.write(f"[{','.join(PLUGINS)}].\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("rest", nargs="*", metavar="run.py's arguments")
    options = parser.parse_args()
    if not RabbitMQ.installed():
        print("RabbitMQ is not installed")
        return 2
    with tempfile.TemporaryDirectory(prefix="leveret-rabbitmq-", ignore_cleanup_errors=True) as folder:
        broker = RabbitMQ(os.path.join(folder, "rabbitmq"))
        try:
            broker.start()
            if options.keep:
                print("listens on 127.0.0.1:%d; " % broker.port +
                      " ".join(f"{k}={v!r}" for k, v in broker.environment().items()), flush=True)
                sys.stdin.readline()
                return 0
            return subprocess.call([sys.executable, str(HERE / "run.py"), "--host", "127.0.0.1",
                                    "--port", str(broker.port), *options.rest])
        finally:
            broker.stop()


if __name__ == "__main__":
    sys.exit(main())
