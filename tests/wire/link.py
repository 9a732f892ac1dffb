"""link.py - one connection of a test: bytes out, events in.

An event is a method with its content; those of one channel are kept in order. Every frame that comes in is
checked: its end octet, its size against what was negotiated, and that its content is complete.
"""
import collections
import socket
import time

import amqp

CAPABILITIES = ["publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify",
                "connection.blocked", "authentication_failure_close"]
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"


class Failure(Exception):
    """The broker did not do what was expected."""


def check(true, what):
    """Fails with `what` unless it is true."""
    if not true:
        raise Failure(what)


class Event:
    """A method that came in, with its content if it has one."""

    def __init__(self, name, channel, fields):
        self.name, self.channel, self.fields = name, channel, fields
        self.body_size, self.raw_properties, self.properties = 0, None, {}
        self.body, self.pieces = b"", []

    def add_header(self, payload):
        self.body_size, self.raw_properties = amqp.read_header(payload)
        self.properties = amqp.read_properties(self.raw_properties)

    def add_body(self, payload):
        self.pieces.append(payload)
        self.body = b"".join(self.pieces) if self.complete() else b""

    def complete(self):
        return self.raw_properties is not None and sum(map(len, self.pieces)) >= self.body_size

    def look_up(self, name):
        """A field, property or `body`, `body_frames`, `largest_body_frame`; None when absent."""
        if name in self.fields:
            return self.fields[name]
        if name == "body":
            return self.body
        if name == "body_frames":
            return len(self.pieces)
        if name == "largest_body_frame":
            return max(map(len, self.pieces), default=0)
        return self.properties.get(name)

    def __str__(self):
        shown = {**self.fields, **self.properties}
        if self.raw_properties is not None:
            shown["body"] = self.body[:60]
        words = [f"{name}={value!r}" for name, value in shown.items() if value not in (b"", [])]
        return f"{self.name} on channel {self.channel} " + " ".join(words)


class Link:
    tls = None  # an ssl.SSLContext: every connection is made with it

    def __init__(self, address, timeout, source=None):
        self.socket = socket.create_connection(address, timeout=timeout, source_address=source)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls:
            self.socket = self.tls.wrap_socket(self.socket, server_hostname="localhost")
        self.timeout = timeout
        self.buffer, self.ended = b"", False
        self.events = collections.defaultdict(collections.deque)
        self.assembling = {}
        self.heartbeats, self.frame_max = 0, 131072
        self.held, self.drip = None, False
        self.tolerated = set()
        self.closing = False  # connection.close was sent or received
        self.lost = False  # the broker was restarted

    # Out.

    def send(self, data):
        if self.held is not None:
            self.held += data
            return
        try:
            for piece in [data[i:i + 1] for i in range(len(data))] if self.drip else [data]:
                self.socket.sendall(piece)
        except ConnectionError:
            pass  # The broker closed already; what it said before is still to be read.

    def send_method(self, channel, name, **fields):
        self.send(amqp.write_frame(amqp.METHOD, channel, amqp.write_method(name, fields)))

    def release(self):
        data, self.held = self.held, None
        self.send(data)

    # In.

    def receive(self, deadline):
        """Reads once; False at the end of the stream, Failure when nothing came in time."""
        if self.ended:
            return False
        remaining = deadline - time.monotonic()
        try:
            if remaining <= 0:
                raise TimeoutError
            self.socket.settimeout(remaining)
            data = self.socket.recv(1 << 18)
        except TimeoutError:
            raise Failure("nothing came in time") from None
        except ConnectionError:
            data = b""
        self.buffer += data
        self.ended = not data
        return bool(data)

    def cut_frames(self):
        try:
            while len(self.buffer) >= 7:
                size = int.from_bytes(self.buffer[3:7], "big")
                if len(self.buffer) < size + 8:
                    return
                kind, channel = self.buffer[0], int.from_bytes(self.buffer[1:3], "big")
                payload, end = self.buffer[7:size + 7], self.buffer[size + 7]
                if end != amqp.FRAME_END:
                    raise Failure(f"the broker sent a frame that ends in {end:#x}")
                if size + 8 > self.frame_max:
                    raise Failure(f"the broker sent a frame of {size + 8}, more than {self.frame_max}")
                self.buffer = self.buffer[size + 8:]
                self.take_frame(kind, channel, payload)
        except amqp.Malformed as error:
            raise Failure(f"the broker sent malformed bytes: {error}") from None

    def take_frame(self, kind, channel, payload):
        event = self.assembling.get(channel)
        if kind == amqp.HEARTBEAT and channel == 0 and not payload:
            self.heartbeats += 1
            return
        if kind == amqp.METHOD and not event:
            event = Event(*self.method_of(payload, channel))
            if event.name in amqp.WITH_CONTENT:
                self.assembling[channel] = event
                return
        elif kind == amqp.HEADER and event and event.raw_properties is None:
            event.add_header(payload)
        elif kind == amqp.BODY and event and event.raw_properties is not None:
            event.add_body(payload)
        else:
            raise Failure(f"the broker sent a frame of type {kind} on channel {channel} out of place")
        if event.name in amqp.WITH_CONTENT and not event.complete():
            return
        self.assembling.pop(channel, None)
        if event.name in self.tolerated:
            return
        if event.name == "connection.close":
            self.closing = True
        self.events[channel].append(event)

    @staticmethod
    def method_of(payload, channel):
        name, fields = amqp.read_method(payload)
        return name, channel, fields

    def next_event(self, channel, within=None):
        """The next event on a channel; Failure when the connection ends first."""
        deadline = time.monotonic() + (within or self.timeout)
        while not self.events[channel]:
            if self.events[0] and self.events[0][0].name == "connection.close":
                raise Failure(f"got {self.events[0][0]}")
            try:
                if not self.receive(deadline):
                    raise Failure("the connection was closed")
            except Failure as failure:
                others = [str(event) for events in self.events.values() for event in events]
                raise Failure("; not expected: ".join([str(failure), *others])) from None
            self.cut_frames()
        return self.events[channel].popleft()

    def next_event_or_close(self):
        """The next event of channel 0, also a connection.close."""
        deadline = time.monotonic() + self.timeout
        while not self.events[0]:
            if not self.receive(deadline):
                raise Failure("the connection was closed")
            self.cut_frames()
        return self.events[0].popleft()

    def wait_for_end(self, within):
        """Until the broker closes the socket; any event before that is a Failure."""
        deadline = time.monotonic() + within
        while self.receive(deadline):
            self.cut_frames()
        self.expect_no_leftovers()

    def wait_for_bytes(self, count):
        deadline = time.monotonic() + self.timeout
        while len(self.buffer) < count and self.receive(deadline):
            pass
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def wait_for_heartbeat(self):
        deadline, before = time.monotonic() + self.timeout, self.heartbeats
        while self.heartbeats == before:
            if not self.receive(deadline):
                raise Failure("the connection was closed")
            self.cut_frames()

    def expect_no_leftovers(self, allowed=()):
        for events in self.events.values():
            for event in events:
                if event.name not in allowed:
                    raise Failure(f"unexpected {event}")

    # Both.

    def call(self, channel, name, **fields):
        """A method and its -ok reply."""
        self.send_method(channel, name, **fields)
        reply = self.next_event(channel)
        if reply.name != name + "-ok":
            raise Failure(f"{name} was answered by {reply}")
        return reply

    def start(self, user, password, capabilities=CAPABILITIES, mechanism=b"PLAIN", response=None, name=b"",
              properties=()):
        """Protocol header to start-ok; returns the start event."""
        self.send(PROTOCOL_HEADER)
        event = self.next_event(0)
        if event.name != "connection.start":
            raise Failure(f"expected connection.start, got {event}")
        properties = [(b"capabilities", "F", [(c.encode(), "t", True) for c in capabilities]), *properties]
        if name:
            properties.append((b"connection_name", "S", name))
        if response is None:
            response = b"\0" + user + b"\0" + password
        self.send_method(0, "connection.start-ok", client_properties=properties, mechanism=mechanism,
                         response=response, locale=b"en_US")
        return event

    def tune(self, channel_max=None, frame_max=None, heartbeat=0):
        """tune to tune-ok, with the broker's own values where none are given; returns the tune event."""
        event = self.next_event(0)
        if event.name != "connection.tune":
            raise Failure(f"expected connection.tune, got {event}")
        offered = event.fields
        frame_max = offered["frame_max"] if frame_max is None else frame_max
        channel_max = offered["channel_max"] if channel_max is None else channel_max
        self.frame_max = frame_max or self.frame_max
        self.send_method(0, "connection.tune-ok", channel_max=channel_max, frame_max=frame_max,
                         heartbeat=heartbeat)
        return event

    def open(self, vhost=b"/"):
        self.call(0, "connection.open", virtual_host=vhost)

    def close(self):
        """connection.close; after its close-ok it is the client who closes the socket."""
        self.closing = True
        self.call(0, "connection.close", reply_code=200)
        self.drop()

    def drop(self):
        self.socket.close()
        self.ended = True
