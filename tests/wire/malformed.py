#!/usr/bin/env python3
"""malformed.py - bytes that no decent client sends: malformed.py --leveret PATH [--list] [CASE...]

Each case is one sequence on a connection of its own, at some stage of its life, and what has to come of it:
    end        the socket is closed; before the login nothing more is said than the protocol header
    501 …      connection.close with that code, then the end of the socket
    c404 …     channel.close with that code; the connection goes on
    fine       nothing: the connection goes on
All cases run against one broker. Meanwhile somebody else's messages have to come through, and afterwards
nothing may be left: no connection, no descriptor, no memory, and that one's queue holds what it held.
"""
import argparse
import os
import struct
import sys
import time

import amqp
from broker import Leveret
from link import Failure, Link, PROTOCOL_HEADER

TIMEOUT = 30
CASES = []  # (name, stage, bytes, what has to come)
MEMORY_SLACK = 8 << 20


def case(name, stage, data, outcome):
    CASES.append((name, stage, data, outcome))


def frame(kind, channel, payload, end=amqp.FRAME_END):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + bytes([end])


def method(name, channel=1, **fields):
    return frame(amqp.METHOD, channel, amqp.write_method(name, fields))


def content(properties=b"\0\0", body=b"", size=None, **publish):
    """basic.publish, header and one body frame."""
    parts = [method("basic.publish", **publish),
             frame(amqp.HEADER, 1, amqp.write_header(len(body) if size is None else size, properties))]
    return b"".join(parts + ([frame(amqp.BODY, 1, body)] if body else []))


def header(payload):
    return method("basic.publish") + frame(amqp.HEADER, 1, payload)


# The protocol header.

for name, data in {
        "an HTTP request": b"GET / HTTP/1.0\r\n\r\n",
        "a TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(200),
        "AMQP 1.0": b"AMQP\x00\x01\x00\x00",
        "AMQP 1.0 with SASL": b"AMQP\x03\x01\x00\x00",
        "AMQP with TLS": b"AMQP\x02\x01\x00\x00",
        "AMQP 0-10": b"AMQP\x01\x01\x00\x0a",
        "AMQP 0-8": b"AMQP\x01\x01\x08\x00",
        "AMQP 0-9-2": b"AMQP\x00\x00\x09\x02",
        "AMQP in small letters": b"amqp\x00\x00\x09\x01",
        "MQTT": bytes.fromhex("100c00044d5154540402003c0000"),
        "zeros": bytes(8),
        "ones": b"\xff" * 8,
        "a frame": method("connection.start-ok", 0),
        "64 KB of rubbish": bytes(range(256)) * 256}.items():
    case(f"header: {name}", "header", data, "end")

# Frames, at every stage.

for stage in ["start", "tune", "open", "channel"]:
    for kind in [0, 4, 5, 6, 7, 9, 127, 255]:
        case(f"{stage}: frame type {kind}", stage, frame(kind, 0, b""), "501")
    case(f"{stage}: wrong end octet", stage, frame(1, 0, amqp.write_method("connection.close", {}), 0xCD),
         "501")
    case(f"{stage}: frame of 4 GB", stage, struct.pack(">BHI", 1, 0, 0xFFFFFFFF), "501")
    case(f"{stage}: frame of 2 GB", stage, struct.pack(">BHI", 1, 0, 0x7FFFFFFF), "501")
    case(f"{stage}: method frame without octets", stage, frame(1, 0, b""), "502")
    case(f"{stage}: method frame of three octets", stage, frame(1, 0, b"\0\x0a\0"), "502")
    case(f"{stage}: class 0", stage, frame(1, 0, struct.pack(">HH", 0, 0)), "540")
    case(f"{stage}: class 65535", stage, frame(1, 0, struct.pack(">HH", 65535, 65535)), "540")
    case(f"{stage}: unknown method of class 10", stage, frame(1, 0, struct.pack(">HH", 10, 99)), "540")

# Methods cut short, and with more behind them; on channel 0; on a channel that is not open.

CLIENT = [name for name in amqp.METHODS if name.split(".")[0] != "connection" and
          (not name.endswith("-ok") or name in ("channel.close-ok", "channel.flow-ok")) and
          name not in amqp.WITH_CONTENT and name != "basic.get-empty"]
SERVER = [name for name in amqp.METHODS if name.split(".")[0] != "connection" and name not in CLIENT]
for name in CLIENT:
    payload = amqp.write_method(name, {})
    if len(payload) > 4:
        case(f"{name}: without arguments", "channel", frame(1, 1, payload[:4]), "502")
        case(f"{name}: cut short", "channel", frame(1, 1, payload[:-1]), "502")
    case(f"{name}: more behind it", "channel", frame(1, 1, payload + b"\0\0"), "502")
    case(f"{name}: on channel 0", "channel", method(name, 0), "504")
    if name not in ("channel.open", "channel.close", "channel.close-ok"):
        case(f"{name}: on a channel that is not open", "channel", method(name, 7), "504")
    case(f"{name}: before the login", "start", method(name, 1), "504")
    case(f"{name}: before connection.open", "open", method(name, 1), "504")
for name in SERVER:
    # cancel-ok answers a basic.cancel of the broker's, which may be on its way.
    case(f"{name}: from a client", "channel", method(name, 1), "fine" if name == "basic.cancel-ok" else "503")

# Class connection at the wrong moment.

for name in [name for name in amqp.METHODS if name.startswith("connection.")]:
    case(f"{name}: on channel 1", "channel", method(name, 1), "503")
    if name not in ("connection.close", "connection.close-ok", "connection.update-secret"):
        case(f"{name}: once more", "channel", method(name, 0), "fine" if "blocked" in name else "504")
    payload = amqp.write_method(name, {})
    if len(payload) > 4 and name in ("connection.close", "connection.update-secret"):
        case(f"{name}: cut short", "channel", frame(1, 0, payload[:-1]), "502")
for name, stage in [("connection.tune-ok", "start"), ("connection.open", "start"), ("connection.secure-ok",
                                                                                    "start"),
                    ("connection.start-ok", "tune"), ("connection.open", "tune"), ("connection.start-ok",
                                                                                   "open"),
                    ("connection.tune-ok", "open"), ("connection.update-secret", "start"),
                    ("connection.start", "start"), ("connection.blocked", "open")]:
    case(f"{name}: at stage {stage}", stage, method(name, 0), "504")

# Strings and tables.

def with_table(table, name="queue.declare", field="arguments", **fields):
    return method(name, **{field: table, "queue": b"malformed", **fields})


def deep(levels):
    table = b""
    for _ in range(levels):
        table = b"\1aF" + struct.pack(">I", len(table)) + table
    return table


TABLES = {
    "a name cut short": b"\x05a",
    "a name without a type": b"\1a",
    "an unknown type": b"\1aQ",
    "type 0": b"\1a\0",
    "a string cut short": b"\1aS\0\0\0\x09abc",
    "a string of 4 GB": b"\1aS\xff\xff\xff\xff",
    "an integer cut short": b"\1aI\0\0",
    "a timestamp cut short": b"\1aT\0\0\0",
    "a decimal cut short": b"\1aD\2\0",
    "an array cut short": b"\1aA\0\0\0\x04I\0",
    "an array with an unknown type": b"\1aA\0\0\0\x01Q",
    "an array of 4 GB": b"\1aA\xff\xff\xff\xff",
    "an inner table that is longer than the outer": b"\1aF\0\0\0\x20\1bt\1",
    "nested 65 deep": deep(65),
    "nested 10,000 deep": deep(10000),
}
for name, table in TABLES.items():
    case(f"queue.declare: a table with {name}", "channel", with_table(table), "502")
    case(f"basic.publish: headers with {name}", "channel",
         content(struct.pack(">HI", 1 << 13, len(table)) + table), "502")
    case(f"start-ok: a table with {name}"
         if len(table) < 4000 else f"start-ok: a table too large for a first frame, {name}", "start",
         method("connection.start-ok", 0, client_properties=table, mechanism=b"PLAIN",
                response=b"\0guest\0guest", locale=b"en_US"), "502" if len(table) < 4000 else "501")
for name in ["queue.declare", "queue.bind", "exchange.declare", "exchange.bind", "basic.consume"]:
    payload = amqp.write_method(name, {})
    case(f"{name}: a table longer than the frame", "channel",
         frame(1, 1, payload[:-4] + b"\0\0\x10\0"), "502")
    case(f"{name}: a table of 4 GB", "channel", frame(1, 1, payload[:-4] + b"\xff\xff\xff\xff"), "502")
for name, text in {"an octet that begins nothing": b"\xff", "a surrogate": b"\xed\xa0\x80",
                   "too long a form": b"\xc0\x80", "an end in the middle": b"a\xe2\x82",
                   "beyond U+10FFFF": b"\xf4\x90\x80\x80"}.items():
    case(f"queue.declare: a name with {name}", "channel", method("queue.declare", queue=text), "501")
    case(f"exchange.declare: a type with {name}", "channel",
         method("exchange.declare", exchange=b"x", type=text), "501")
    case(f"basic.publish: a key with {name}", "channel", method("basic.publish", routing_key=text), "501")
    case(f"basic.consume: a tag with {name}", "channel", method("basic.consume", consumer_tag=text), "501")
    case(f"basic.cancel: a tag with {name}", "channel", method("basic.cancel", consumer_tag=text), "501")

# Content.

for name, payload in {"without octets": b"", "of 11 octets": b"\0\x3c" + bytes(9),
                      "without flags": struct.pack(">HHQ", 60, 0, 0),
                      "with half the flags": struct.pack(">HHQB", 60, 0, 0, 0)}.items():
    case(f"content header {name}", "channel", header(payload), "502")
for name, flags in {"flag bit 0": 1, "flag bit 1": 2, "all flags and no values": 0xFFFC,
                    "a content type that is not there": 1 << 15, "a table that is not there": 1 << 13,
                    "a timestamp that is not there": 1 << 6}.items():
    case(f"properties: {name}", "channel", header(amqp.write_header(0, struct.pack(">H", flags))), "502")
case("properties: more behind them", "channel", header(amqp.write_header(0, b"\0\0xyz")), "502")
case("content header of class 50", "channel", header(amqp.write_header(0, b"\0\0", class_id=50)), "505")
case("content header of weight 1", "channel", header(amqp.write_header(0, b"\0\0", weight=1)), "505")
case("content header without a method", "channel", frame(2, 1, amqp.write_header(0, b"\0\0")), "505")
case("content body without a method", "channel", frame(3, 1, b"x"), "505")
case("content body instead of the header", "channel", method("basic.publish") + frame(3, 1, b"x"), "505")
case("two content headers", "channel", header(amqp.write_header(5, b"\0\0")) +
     frame(2, 1, amqp.write_header(5, b"\0\0")), "505")
case("a method instead of the header", "channel", method("basic.publish") + method("basic.qos"), "505")
case("a method instead of the body", "channel",
     header(amqp.write_header(5, b"\0\0")) + method("basic.qos"), "505")
case("a body that is too long", "channel", content(body=b"abcdef", size=3), "501")
case("an empty body behind an empty message", "channel", content() + frame(3, 1, b""), "505")
case("a message of 2^64 - 1", "channel", header(amqp.write_header((1 << 64) - 1, b"\0\0")), "501")
case("a message of 2^63", "channel", header(amqp.write_header(1 << 63, b"\0\0")), "501")
case("a message of 600 MB", "channel", header(amqp.write_header(600_000_000, b"\0\0")), "501")
case("a message of 17 MB", "channel", header(amqp.write_header(17 << 20, b"\0\0")), "c406")
case("content on channel 0", "channel", frame(2, 0, amqp.write_header(0, b"\0\0")), "505")
case("a body on channel 0", "channel", frame(3, 0, b"x"), "505")
case("content on a channel that is not open", "channel", frame(2, 9, amqp.write_header(0, b"\0\0")), "504")
case("a heartbeat on channel 1", "channel", frame(8, 1, b""), "505")
case("a heartbeat with a payload", "channel", frame(8, 0, b"hello"), "501")
case("100,000 heartbeats", "channel", frame(8, 0, b"") * 100_000, "fine")
for expiration in [b"", b" 5", b"5 ", b"-1", b"1.5", b"1e3", b"abc", b"315360000001", b"9" * 200]:
    case(f"expiration {expiration[:20]!r}", "channel",
         content(amqp.write_properties({"expiration": expiration})), "c406")
for name in ["CC", "BCC"]:
    for what, field in {"a string": ("S", b"x"), "a number": ("I", 1), "an array of numbers": ("A", [("I",
                                                                                                      1)]),
                        "a table": ("F", [])}.items():
        case(f"{name} is {what}", "channel",
             content(amqp.write_properties({"headers": [(name.encode(), *field)]})), "c406")
    for keys, outcome in [(255, "fine"), (256, "c406")]:
        case(f"{name} of {keys} keys", "channel", content(amqp.write_properties(
            {"headers": [(name.encode(), "A", [("S", b"k")] * keys)]})), outcome)
case("a user-id of somebody else", "channel", content(amqp.write_properties({"user_id": b"root"})), "c406")

# Sense.

for name, data, outcome in [
        ("channel.open twice", method("channel.open"), "504"),
        ("channel.flow off", method("channel.flow"), "540"),
        ("basic.publish immediate", method("basic.publish", immediate=1), "540"),
        ("basic.recover without requeue", method("basic.recover"), "540"),
        ("basic.qos with a size", method("basic.qos", prefetch_size=1), "540"),
        ("ack of 1", method("basic.ack", delivery_tag=1), "c406"),
        ("ack of 0", method("basic.ack"), "c406"),
        ("ack of 2^64 - 1", method("basic.ack", delivery_tag=(1 << 64) - 1), "c406"),
        ("ack of 2^64 - 1 and all before", method("basic.ack", delivery_tag=(1 << 64) - 1, multiple=1),
         "c406"),
        ("nack of 5", method("basic.nack", delivery_tag=5), "c406"),
        ("reject of 5", method("basic.reject", delivery_tag=5), "c406"),
        ("tx.commit without tx.select", method("tx.commit"), "c406"),
        ("tx.rollback without tx.select", method("tx.rollback"), "c406"),
        ("confirm.select after tx.select", method("tx.select") + method("confirm.select"), "c406"),
        ("tx.select after confirm.select", method("confirm.select") + method("tx.select"), "c406"),
        ("queue amq.mine", method("queue.declare", queue=b"amq.mine"), "c403"),
        ("exchange amq.mine", method("exchange.declare", exchange=b"amq.mine", type=b"direct"), "c403"),
        ("an exchange without a name", method("exchange.declare", type=b"direct"), "c403"),
        ("deleting the default exchange", method("exchange.delete"), "c403"),
        ("deleting amq.direct", method("exchange.delete", exchange=b"amq.direct"), "c403"),
        ("amq.direct as a fanout", method("exchange.declare", exchange=b"amq.direct", type=b"fanout",
                                          durable=1),
         "c406"),
        ("an exchange of no type", method("exchange.declare", exchange=b"x"), "c406"),
        ("an exchange of an unknown type", method("exchange.declare", exchange=b"x", type=b"x-nothing"),
         "c406"),
        ("consuming from no queue", method("basic.consume"), "c404"),
        ("consuming from an unknown queue", method("basic.consume", queue=b"nothing"), "c404"),
        ("getting from an unknown queue", method("basic.get", queue=b"nothing"), "c404"),
        ("purging an unknown queue", method("queue.purge", queue=b"nothing"), "c404"),
        ("publishing to an unknown exchange", content(exchange=b"nothing"), "c404"),
        ("binding to an unknown exchange", method("queue.bind", queue=b"bystander", exchange=b"nothing"),
         "c404"),
        ("binding to the default exchange", method("queue.bind", queue=b"bystander"), "c403"),
        ("x-match of the wrong kind", method("queue.bind", queue=b"bystander", exchange=b"amq.headers",
                                             arguments=[(b"x-match", "S", b"some")]), "c406"),
        ("x-max-length below 0", with_table([(b"x-max-length", "I", -1)]), "c406"),
        ("x-max-length as a text", with_table([(b"x-max-length", "S", b"5")]), "c406"),
        ("x-message-ttl beyond ten years", with_table([(b"x-message-ttl", "l", 1 << 62)]), "c406"),
        ("x-expires 0", with_table([(b"x-expires", "I", 0)]), "c406"),
        ("x-max-priority 256", with_table([(b"x-max-priority", "I", 256)]), "c406"),
        ("x-overflow of the wrong kind", with_table([(b"x-overflow", "S", b"explode")]), "c406"),
        ("x-queue-type of the wrong kind", with_table([(b"x-queue-type", "S", b"nothing")]), "c406"),
        ("a tag used twice", method("basic.consume", queue=b"bystander", consumer_tag=b"t") * 2, "530"),
        ("a thousand channel.close", method("channel.close") + method("channel.close") * 999, "fine"),
        ("an unknown consumer cancelled", method("basic.cancel", consumer_tag=b"nobody"), "fine"),
]:
    case(name, "channel", data, outcome)
for name, mechanism, response in [
        ("no mechanism", b"", b""), ("an unknown mechanism", b"CRAM-MD5", b""), ("PLAIN without octets",
                                                                                 b"PLAIN", b""),
        ("PLAIN with one part", b"PLAIN", b"guest"), ("PLAIN with a wrong password", b"PLAIN",
                                                      b"\0guest\0wrong"),
        ("PLAIN without a password", b"PLAIN", b"\0guest\0"), ("PLAIN of an unknown user", b"PLAIN",
                                                               b"\0nobody\0x"),
        ("PLAIN for somebody else", b"PLAIN", b"root\0guest\0guest"), ("PLAIN of 3 KB", b"PLAIN",
                                                                       b"\0" * 3000),
        ("AMQPLAIN cut short", b"AMQPLAIN", b"\x05LOGINS\0\0"), ("AMQPLAIN without octets", b"AMQPLAIN", b""),
        ("AMQPLAIN with numbers", b"AMQPLAIN", b"\x05LOGINI\0\0\0\1\x08PASSWORDI\0\0\0\1")]:
    case(f"login: {name}", "start", method("connection.start-ok", 0, mechanism=mechanism, response=response,
                                           client_properties=[(b"capabilities", "F", [
                                               (b"authentication_failure_close", "t", True)])]), "403")
for name, fields in {"frame_max 1": {"frame_max": 1}, "frame_max 4095": {"frame_max": 4095},
                     "frame_max 4 GB": {"frame_max": 0xFFFFFFFF}, "frame_max 0": {"frame_max": 0},
                     "channel_max 0": {"channel_max": 0},
                     "channel_max 65535": {"channel_max": 65535}}.items():
    case(f"tune-ok: {name}", "tune",
         method("connection.tune-ok", 0, **{"channel_max": 2047, "frame_max": 131072, **fields}), "530")
for name, vhost in {"an unknown vhost": b"nothing", "no vhost": b"",
                    "a vhost of 255 octets": b"v" * 255}.items():
    case(f"connection.open: {name}", "open", method("connection.open", 0, virtual_host=vhost), "530")
case("connection.open: a vhost that is not UTF-8", "open",
     method("connection.open", 0, virtual_host=b"\xff"), "501")


def enter(broker, stage):
    """A connection that has come as far as the stage."""
    link = Link(broker.address, TIMEOUT)
    if stage == "header":
        return link
    if stage == "start":
        link.send(PROTOCOL_HEADER)
        link.next_event(0)
        return link
    link.start(b"guest", b"guest")
    if stage == "tune":
        link.next_event(0)
        return link
    link.tune()
    if stage == "channel":
        link.open()
        link.call(1, "channel.open")
    return link


def read_to_end(link):
    deadline = time.monotonic() + TIMEOUT
    while link.receive(deadline):
        pass
    return link.buffer


def first_close(link):
    """What comes: "c404", "501", "end" when the socket is closed without a word."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        link.cut_frames()
        for events in link.events.values():
            for event in events:
                if event.name == "channel.close":
                    return f"c{event.fields['reply_code']}"
                if event.name == "connection.close":
                    return str(event.fields["reply_code"])
        if not link.receive(deadline):
            return "end"


def run(broker, stage, data, outcome):
    link = enter(broker, stage)
    link.send(data)
    if stage == "header":
        said = read_to_end(link)
        if said not in (b"", PROTOCOL_HEADER):
            raise Failure(f"{said[:40]!r} was said")
    elif outcome == "fine":
        link.call(2, "channel.open")
        link.close()
    else:
        got = first_close(link)
        if got != outcome:
            raise Failure(f"got {got} instead of {outcome}")
        if got.startswith("c"):
            link.send_method(1, "channel.close-ok")
            link.call(2, "channel.open")
            link.close()
        elif got != "end":
            link.send_method(0, "connection.close-ok")
            read_to_end(link)
    link.drop()


# Others, and what is left.


class Bystander:
    """Has messages in a queue of its own, and goes on with its work."""

    def __init__(self, broker):
        self.link = enter(broker, "channel")
        self.link.call(1, "queue.declare", queue=b"bystander")
        self.link.call(1, "confirm.select")
        for i in range(100):
            self.publish(b"%d" % i)
        self.link.call(1, "queue.declare", queue=b"work")

    def publish(self, body, queue=b"bystander"):
        self.link.send(amqp.publish_frames(1, {"routing_key": queue}, b"\0\0", body, 131072))
        event = self.link.next_event(1)
        if event.name != "basic.ack":
            raise Failure(f"the bystander got {event}")

    def work(self):
        self.publish(b"work", b"work")
        self.link.send_method(1, "basic.get", queue=b"work", no_ack=1)
        if self.link.next_event(1).body != b"work":
            raise Failure("the bystander's message is not there")

    def finish(self):
        for i in range(100):
            self.link.send_method(1, "basic.get", queue=b"bystander", no_ack=1)
            event = self.link.next_event(1)
            if event.body != b"%d" % i:
                raise Failure(f"the bystander's queue: {event}")
        self.link.call(1, "queue.declare", queue=b"bystander", passive=1)
        self.link.close()


def descriptors(broker):
    return len(os.listdir(f"/proc/{broker.process.pid}/fd"))


def resident(broker):
    with open(f"/proc/{broker.process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def check_nothing_left(broker, before, memory, sanitized):
    deadline = time.monotonic() + TIMEOUT
    while descriptors(broker) > before:
        if time.monotonic() > deadline:
            raise Failure(f"{descriptors(broker)} descriptors are open, {before} were")
        time.sleep(0.05)
    grown = resident(broker) - memory
    if grown > MEMORY_SLACK and not sanitized:
        raise Failure(f"the process has grown by {grown >> 20} MB")


def try_all(broker, chosen, sanitized):
    failures = []
    bystander = Bystander(broker)
    before, memory = descriptors(broker), resident(broker)
    for number, (name, stage, data, outcome) in enumerate(chosen):
        try:
            run(broker, stage, data, outcome)
            if number % 10 == 0:
                bystander.work()
        except (Failure, OSError) as failure:
            failures.append(f"{name}: {failure}")
            broker.check_alive()
    try:
        check_nothing_left(broker, before, memory, sanitized)
        bystander.finish()
    except Failure as failure:
        failures.append(f"afterwards: {failure}")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--leveret", required=True, metavar="PATH")
    parser.add_argument("--list", action="store_true", help="print the cases")
    parser.add_argument("--sanitized", action="store_true", help="memory is no measure")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="part of a name")
    options = parser.parse_args()
    chosen = [c for c in CASES if not options.cases or any(part in c[0] for part in options.cases)]
    if options.list:
        print("\n".join(f"{c[3]:5} {c[0]}" for c in chosen))
        return 0
    assert len({c[0] for c in CASES}) == len(CASES), "two cases have one name"
    broker = Leveret(options.leveret, ["core_dumps=true"])  # its descriptors are counted by others
    broker.start()
    failures = try_all(broker, chosen, options.sanitized)
    broker.stop()
    for failure in failures:
        print(f"not ok - {failure}")
    failed = len(failures)
    print(f"malformed: {len(chosen) + 1 - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
