"""amqp.py - AMQP 0-9-1 as bytes, for the tests: methods, field tables, properties, frames.

Strings are bytes. A table is a list of (name, type, value), in the order of the wire, so that two equal
tables are equal byte for byte; a bytes object given as a table is written as it is (for malformed ones).
"""
import struct

# name, class, method, fields; what is indented belongs to the line above.
METHODS_TEXT = """
connection.start 10 10 version_major:u8 version_minor:u8 server_properties:table mechanisms:lstr locales:lstr
connection.start-ok 10 11 client_properties:table mechanism:sstr response:lstr locale:sstr
connection.secure 10 20 challenge:lstr
connection.secure-ok 10 21 response:lstr
connection.tune 10 30 channel_max:u16 frame_max:u32 heartbeat:u16
connection.tune-ok 10 31 channel_max:u16 frame_max:u32 heartbeat:u16
connection.open 10 40 virtual_host:sstr reserved_1:sstr reserved_2:bit
connection.open-ok 10 41 reserved_1:sstr
connection.close 10 50 reply_code:u16 reply_text:sstr class_id:u16 method_id:u16
connection.close-ok 10 51
connection.blocked 10 60 reason:sstr
connection.unblocked 10 61
connection.update-secret 10 70 new_secret:lstr reason:sstr
connection.update-secret-ok 10 71
channel.open 20 10 reserved_1:sstr
channel.open-ok 20 11 reserved_1:lstr
channel.flow 20 20 active:bit
channel.flow-ok 20 21 active:bit
channel.close 20 40 reply_code:u16 reply_text:sstr class_id:u16 method_id:u16
channel.close-ok 20 41
access.request 30 10 realm:sstr exclusive:bit passive:bit active:bit write:bit read:bit
access.request-ok 30 11 ticket:u16
exchange.declare 40 10 ticket:u16 exchange:sstr type:sstr passive:bit durable:bit auto_delete:bit internal:bit
    no_wait:bit arguments:table
exchange.declare-ok 40 11
exchange.delete 40 20 ticket:u16 exchange:sstr if_unused:bit no_wait:bit
exchange.delete-ok 40 21
exchange.bind 40 30 ticket:u16 destination:sstr source:sstr routing_key:sstr no_wait:bit arguments:table
exchange.bind-ok 40 31
exchange.unbind 40 40 ticket:u16 destination:sstr source:sstr routing_key:sstr no_wait:bit arguments:table
exchange.unbind-ok 40 51
queue.declare 50 10 ticket:u16 queue:sstr passive:bit durable:bit exclusive:bit auto_delete:bit no_wait:bit
    arguments:table
queue.declare-ok 50 11 queue:sstr message_count:u32 consumer_count:u32
queue.bind 50 20 ticket:u16 queue:sstr exchange:sstr routing_key:sstr no_wait:bit arguments:table
queue.bind-ok 50 21
queue.purge 50 30 ticket:u16 queue:sstr no_wait:bit
queue.purge-ok 50 31 message_count:u32
queue.delete 50 40 ticket:u16 queue:sstr if_unused:bit if_empty:bit no_wait:bit
queue.delete-ok 50 41 message_count:u32
queue.unbind 50 50 ticket:u16 queue:sstr exchange:sstr routing_key:sstr arguments:table
queue.unbind-ok 50 51
basic.qos 60 10 prefetch_size:u32 prefetch_count:u16 global:bit
basic.qos-ok 60 11
basic.consume 60 20 ticket:u16 queue:sstr consumer_tag:sstr no_local:bit no_ack:bit exclusive:bit no_wait:bit
    arguments:table
basic.consume-ok 60 21 consumer_tag:sstr
basic.cancel 60 30 consumer_tag:sstr no_wait:bit
basic.cancel-ok 60 31 consumer_tag:sstr
basic.publish 60 40 ticket:u16 exchange:sstr routing_key:sstr mandatory:bit immediate:bit
basic.return 60 50 reply_code:u16 reply_text:sstr exchange:sstr routing_key:sstr
basic.deliver 60 60 consumer_tag:sstr delivery_tag:u64 redelivered:bit exchange:sstr routing_key:sstr
basic.get 60 70 ticket:u16 queue:sstr no_ack:bit
basic.get-ok 60 71 delivery_tag:u64 redelivered:bit exchange:sstr routing_key:sstr message_count:u32
basic.get-empty 60 72 reserved_1:sstr
basic.ack 60 80 delivery_tag:u64 multiple:bit
basic.reject 60 90 delivery_tag:u64 requeue:bit
basic.recover-async 60 100 requeue:bit
basic.recover 60 110 requeue:bit
basic.recover-ok 60 111
basic.nack 60 120 delivery_tag:u64 multiple:bit requeue:bit
tx.select 90 10
tx.select-ok 90 11
tx.commit 90 20
tx.commit-ok 90 21
tx.rollback 90 30
tx.rollback-ok 90 31
confirm.select 85 10 no_wait:bit
confirm.select-ok 85 11
"""

# The properties of basic, in flag order from bit 15 down.
PROPERTIES = [("content_type", "sstr"), ("content_encoding", "sstr"), ("headers", "table"),
              ("delivery_mode", "u8"), ("priority", "u8"), ("correlation_id", "sstr"), ("reply_to", "sstr"),
              ("expiration", "sstr"), ("message_id", "sstr"), ("timestamp", "u64"), ("type", "sstr"),
              ("user_id", "sstr"), ("app_id", "sstr"), ("cluster_id", "sstr")]

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
FRAME_END = 0xCE
WITH_CONTENT = {"basic.return", "basic.deliver", "basic.get-ok"}

INTEGERS = {"u8": ">B", "u16": ">H", "u32": ">I", "u64": ">Q"}
TABLE_NUMBERS = {"t": ">?", "b": ">b", "B": ">B", "s": ">h", "u": ">H", "I": ">i", "i": ">I", "l": ">q",
                 "L": ">Q", "f": ">f", "d": ">d", "T": ">Q"}


class Malformed(Exception):
    """The bytes are not AMQP."""


def read_methods(text):
    """METHODS_TEXT as {name: (class id, method id, [(field, type)])}."""
    methods = {}
    for line in text.strip().replace("\n    ", " ").splitlines():
        name, class_id, method_id, *fields = line.split()
        methods[name] = int(class_id), int(method_id), [tuple(f.split(":")) for f in fields]
    return methods


METHODS = read_methods(METHODS_TEXT)
NAMES = {(class_id, method_id): name for name, (class_id, method_id, _) in METHODS.items()}


class Reader:
    """Takes values off the front of some bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        if self.at + size > len(self.data):
            raise Malformed("cut short")
        self.at += size
        return self.data[self.at - size:self.at]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def more(self):
        return self.at < len(self.data)

    def value(self, kind):
        if kind in INTEGERS:
            return self.number(INTEGERS[kind])
        if kind == "sstr":
            return self.take(self.number(">B"))
        if kind == "lstr":
            return self.take(self.number(">I"))
        return read_table(self.take(self.number(">I")))

    def field(self):
        """One typed value of a table or an array."""
        kind = self.take(1).decode("latin-1")
        if kind in TABLE_NUMBERS:
            return kind, self.number(TABLE_NUMBERS[kind])
        if kind in "Sx":
            return kind, self.value("lstr")
        if kind == "D":
            return kind, (self.number(">B"), self.number(">i"))
        if kind == "F":
            return kind, self.value("table")
        if kind == "A":
            inner, items = Reader(self.value("lstr")), []
            while inner.more():
                items.append(inner.field())
            return kind, items
        if kind == "V":
            return kind, None
        raise Malformed(f"field type {kind!r}")


def read_table(data):
    reader, table = Reader(data), []
    while reader.more():
        name = reader.value("sstr")
        table.append((name, *reader.field()))
    return table


def write_field(kind, value):
    if kind in TABLE_NUMBERS:
        data = struct.pack(TABLE_NUMBERS[kind], value)
    elif kind in "Sx":
        data = write("lstr", value)
    elif kind == "D":
        data = struct.pack(">Bi", *value)
    elif kind == "F":
        data = write("table", value)
    elif kind == "A":
        data = write("lstr", b"".join(write_field(*item) for item in value))
    elif kind == "V":
        data = b""
    else:
        raise ValueError(f"no field type {kind!r}")
    return kind.encode() + data


def write(kind, value):
    """One argument of a method or one property."""
    if kind in INTEGERS:
        return struct.pack(INTEGERS[kind], value)
    if kind == "sstr":
        return struct.pack(">B", len(value)) + value
    if kind == "lstr":
        return struct.pack(">I", len(value)) + value
    if not isinstance(value, bytes):
        value = b"".join(write("sstr", name) + write_field(*field) for name, *field in value)
    return struct.pack(">I", len(value)) + value


def empty(kind):
    return 0 if kind in INTEGERS or kind == "bit" else b"" if kind != "table" else []


def write_method(name, values):
    """The payload of a method frame; fields that are not given are 0 or empty."""
    class_id, method_id, fields = METHODS[name]
    data, bits, bit_count = struct.pack(">HH", class_id, method_id), 0, 0
    for field, kind in fields:
        value = values.get(field, empty(kind))
        if kind == "bit":
            bits |= bool(value) << bit_count
            bit_count += 1
            continue
        if bit_count:
            data, bits, bit_count = data + bytes([bits]), 0, 0
        data += write(kind, value)
    return data + (bytes([bits]) if bit_count else b"")


def read_method(payload):
    """(name, {field: value})"""
    reader = Reader(payload)
    ids = reader.number(">H"), reader.number(">H")
    if ids not in NAMES:
        raise Malformed(f"method {ids}")
    name, values, bits, bit_count = NAMES[ids], {}, 0, 0
    for field, kind in METHODS[name][2]:
        if kind != "bit":
            values[field], bit_count = reader.value(kind), 0
            continue
        if not bit_count:
            bits = reader.number(">B")
        values[field] = bits >> bit_count & 1
        bit_count += 1
    if reader.more():
        raise Malformed(f"{name} is too long")
    return name, values


def write_properties(values):
    """The flags and the values of those given."""
    flags, data = 0, b""
    for bit, (name, kind) in enumerate(PROPERTIES):
        if name in values:
            flags |= 1 << (15 - bit)
            data += write(kind, values[name])
    return struct.pack(">H", flags) + data


def read_properties(data):
    reader, values = Reader(data), {}
    flags = reader.number(">H")
    for bit, (name, kind) in enumerate(PROPERTIES):
        if flags >> (15 - bit) & 1:
            values[name] = reader.value(kind)
    if reader.more() or flags & 3:
        raise Malformed("properties")
    return values


def write_header(size, properties, class_id=60, weight=0):
    """The payload of a content header frame; `properties` as write_properties makes them."""
    return struct.pack(">HHQ", class_id, weight, size) + properties


def read_header(payload):
    """(body size, properties as bytes)"""
    class_id, weight, size = struct.unpack(">HHQ", payload[:12])
    if class_id != 60 or weight:
        raise Malformed(f"content header of class {class_id}, weight {weight}")
    return size, payload[12:]


def write_frame(kind, channel, payload):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + bytes([FRAME_END])


def publish_frames(channel, fields, properties, body, frame_max):
    """basic.publish with its content; the body cut to frame_max."""
    frames = [write_frame(METHOD, channel, write_method("basic.publish", fields)),
              write_frame(HEADER, channel, write_header(len(body), properties))]
    piece = frame_max - 8
    for at in range(0, len(body), piece):
        frames.append(write_frame(BODY, channel, body[at:at + piece]))
    return b"".join(frames)
