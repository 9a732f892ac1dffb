#!/usr/bin/env python3
"""topology.py - declares all that RabbitMQ 3.10 can declare, in a private one, and writes what it exports:
rabbitmq-3.10.8-all.json was made by it. Needs rabbitmq-server and python3-pika. topology.py FILE"""
import json
import pathlib
import subprocess
import sys
import tempfile

import pika

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "wire"))
import rabbitmq  # noqa: E402

QUEUES = {
    "ttl": {"x-message-ttl": 60000}, "ttl-0": {"x-message-ttl": 0}, "expires": {"x-expires": 86400000},
    "length": {"x-max-length": 10}, "bytes": {"x-max-length-bytes": 1 << 40}, "length-0": {"x-max-length": 0},
    "drop-head": {"x-max-length": 1, "x-overflow": "drop-head"},
    "reject": {"x-max-length": 1, "x-overflow": "reject-publish"},
    "reject-dlx": {"x-max-length": 1, "x-overflow": "reject-publish-dlx", "x-dead-letter-exchange": "dead"},
    "letters": {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "ttl"},
    "letters-nowhere": {"x-dead-letter-exchange": "missing"},
    "priority-0": {"x-max-priority": 0}, "priority-255": {"x-max-priority": 255},
    "single": {"x-single-active-consumer": True}, "not-single": {"x-single-active-consumer": False},
    "lazy": {"x-queue-mode": "lazy"}, "eager": {"x-queue-mode": "default"}, "version": {"x-queue-version": 2},
    "locator": {"x-queue-master-locator": "client-local"},
    "classic": {"x-queue-type": "classic"},
    "stranger": {"x-nobody-knows-this": "text", "n": 7, "nested": {"a": [1, {"c": True}]}},
    "quorum": {"x-queue-type": "quorum"},
    "quorum-all": {"x-queue-type": "quorum", "x-delivery-limit": 4, "x-max-length": 5,
                   "x-max-length-bytes": 500,
                   "x-overflow": "reject-publish", "x-dead-letter-exchange": "dead", "x-expires": 86400000,
                   "x-dead-letter-routing-key": "k", "x-dead-letter-strategy": "at-least-once",
                   "x-quorum-initial-group-size": 1, "x-max-in-memory-length": 3,
                   "x-max-in-memory-bytes": 300,
                   "x-single-active-consumer": True, "x-queue-leader-locator": "client-local",
                   "x-message-ttl": 5000},
    "quorum-drop": {"x-queue-type": "quorum", "x-overflow": "drop-head"},
}
EXCHANGES = [
    ("direct", "direct", {}), ("fanout", "fanout", {}), ("topic", "topic", {}), ("headers", "headers", {}),
    ("hash", "x-consistent-hash", {}), ("hash-header", "x-consistent-hash", {"hash-header": "key"}),
    ("hash-property", "x-consistent-hash", {"hash-property": "message_id"}), ("random", "x-random", {}),
    ("modulus", "x-modulus-hash", {}), ("recent", "x-recent-history", {"x-recent-history-length": 5}),
    ("alternate", "direct", {"alternate-exchange": "fanout"}), ("alternate-missing", "topic",
                                                                {"alternate-exchange": "missing"}),
    ("dead", "fanout", {}), ("strange", "direct", {"x-nobody-knows-this": 5})]
BINDINGS = [
    ("direct", "ttl", "key", {}), ("direct", "ttl", "key", {"also": "this"}), ("direct", "ttl", "", {}),
    ("fanout", "length", "", {}), ("topic", "length", "a.*.#", {}), ("topic", "length", "#", {}),
    ("headers", "length", "", {"x-match": "all", "n": 5, "s": "text", "t": True}),
    ("headers", "length", "k", {"x-match": "any-with-x", "x-n": 5}), ("headers", "bytes", "", {}),
    ("hash", "ttl", "1", {}), ("hash", "length", "20", {}), ("hash-header", "ttl", "3", {}),
    ("random", "ttl", "", {}), ("modulus", "ttl", "any", {}), ("recent", "quorum", "", {}),
    ("dead", "quorum", "", {}), ("amq.topic", "quorum", "중요.#", {})]
POLICIES = [  # name, pattern, apply to, priority, definition
    ("ttl", "^t", "queues", 7, {"message-ttl": 1000, "expires": 3600000}),
    ("length", "^len", "all", -1, {"max-length": 100, "max-length-bytes": 1000,
                              "overflow": "reject-publish"}),
    ("letters", ".*", "queues", 0, {"dead-letter-exchange": "dead", "dead-letter-routing-key": "x",
                                    "queue-mode": "lazy", "queue-master-locator": "min-masters"}),
    ("quorum", "^quorum", "queues", 9, {"delivery-limit": 3, "dead-letter-strategy": "at-least-once",
                                        "overflow": "reject-publish", "max-in-memory-length": 5,
                                        "max-in-memory-bytes": 50, "dead-letter-exchange": "dead",
                                        "queue-leader-locator": "balanced"}),
    ("alternate", "^topic$", "exchanges", 2, {"alternate-exchange": "fanout"}),
    ("mirrors", "^expires$", "queues", 5, {"ha-mode": "exactly", "ha-params": 2, "ha-sync-mode": "automatic",
                                           "ha-sync-batch-size": 10, "ha-promote-on-shutdown": "always",
                                           "ha-promote-on-failure": "when-synced"}),
    ("streams", "^stream", "queues", 1, {"max-age": "7D", "stream-max-segment-size-bytes": 1000000,
                                         "initial-cluster-size": 3}),
    ("shards", "^modulus-", "exchanges", 1, {"shards-per-node": 2, "routing-key": "k"})]
OPERATOR_POLICIES = [
    ("ceiling", ".*", "queues", 1, {"message-ttl": 500000, "expires": 90000000, "max-length": 1000,
                                    "max-length-bytes": 1 << 41}),
    ("quorum", "^quorum", "queues", 5, {"delivery-limit": 2, "max-in-memory-length": 4,
                                        "max-in-memory-bytes": 40})]


def declare(port, vhost="/"):
    channel = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, vhost)).channel()
    for name, kind, arguments in EXCHANGES:
        channel.exchange_declare(name, kind, durable=True, arguments=arguments)
    channel.exchange_declare("internal", "direct", durable=True, internal=True)
    channel.exchange_declare("auto", "topic", durable=True, auto_delete=True)
    for name, arguments in QUEUES.items():
        channel.queue_declare(name, durable=True, arguments=arguments)
    channel.queue_declare("auto", durable=True, auto_delete=True)
    for exchange, queue, key, arguments in BINDINGS:
        channel.queue_bind(queue, exchange, key, arguments)
    channel.exchange_bind("internal", "topic", "a.#", {"x": 1})
    channel.exchange_bind("dead", "auto", "a.#")
    channel.connection.close()


def configure(ctl):
    for verb, policies in ("set_policy", POLICIES), ("set_operator_policy", OPERATOR_POLICIES):
        for name, pattern, target, priority, definition in policies:
            ctl(verb, "--priority", priority, "--apply-to", target, name, pattern, json.dumps(definition))
    ctl("add_vhost", "limited", "--description", "with limits", "--tags", "a,b", "--default-queue-type",
        "quorum")
    ctl("set_vhost_limits", "-p", "limited", '{"max-connections": 64, "max-queues": 100}')
    for name, tags in ("ann", ["administrator"]), ("bob", ["monitoring", "policymaker"]), ("eve", []):
        ctl("add_user", name, f"{name}-pw")
        ctl("set_user_tags", name, *tags)
    ctl("clear_password", "eve")
    ctl("set_user_limits", "bob", '{"max-connections": 5, "max-channels": 50}')
    ctl("set_permissions", "ann", "^ann", "^(ann|amq)", ".*")
    ctl("set_permissions", "-p", "limited", "bob", "", "", "^$")
    ctl("set_topic_permissions", "ann", "amq.topic", "^a\\.", "^b\\.")
    ctl("set_topic_permissions", "-p", "limited", "bob", "topic", "", ".*")
    ctl("set_global_parameter", "mine", '{"a": [1, "b", null, {"c": true}]}')
    ctl("set_cluster_name", "all@localhost")


def main():
    with tempfile.TemporaryDirectory(prefix="leveret-rabbitmq-", ignore_cleanup_errors=True) as folder:
        broker = rabbitmq.RabbitMQ(folder + "/rabbitmq")

        def ctl(*words):
            done = subprocess.run([f"{broker.home}/rabbitmqctl", "-q", *map(str, words)], check=False,
                                  env=broker.environment(), stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
            if done.returncode:
                raise SystemExit(f"{words}: {done.stdout}")
            return done.stdout

        try:
            broker.start()
            declare(broker.port)
            configure(ctl)
            exported = ctl("export_definitions", "--format", "json", folder + "/exported")
            with open(folder + "/exported", encoding="utf-8") as file:
                exported = json.load(file)
        finally:
            broker.stop()
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(exported, file, indent=1, ensure_ascii=False)
        file.write("\n")


if __name__ == "__main__":
    main()
