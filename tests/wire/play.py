"""play.py - plays one wire script against a broker (the language: tests/README.md)."""
import re
import time
import uuid

import amqp
import words
from link import Failure, Link
from script import VARIANT
from words import Bad

VARIABLE = re.compile(r"\$([A-Za-z0-9_]+)")
LINK_PREFIX = re.compile(r"([A-Z]): *(.*)", re.S)

CODES = {311: "CONTENT_TOO_LARGE", 320: "CONNECTION_FORCED", 402: "INVALID_PATH", 403: "ACCESS_REFUSED",
         404: "NOT_FOUND", 405: "RESOURCE_LOCKED", 406: "PRECONDITION_FAILED", 501: "FRAME_ERROR",
         502: "SYNTAX_ERROR", 503: "COMMAND_INVALID", 504: "CHANNEL_ERROR", 505: "UNEXPECTED_FRAME",
         506: "RESOURCE_ERROR", 530: "NOT_ALLOWED", 540: "NOT_IMPLEMENTED", 541: "INTERNAL_ERROR"}
PROPERTY_KINDS = dict(amqp.PROPERTIES)


def contains(table, wanted):
    """Whether every wanted entry is in the table; name=any asks for the name alone, name=absent for none."""
    entries = {name: field for name, *field in table}
    for name, kind, value in wanted:
        if value == b"absent" and name not in entries:
            continue
        if name not in entries:
            return False
        if kind == "F" == entries[name][0]:
            if not contains(entries[name][1], value):
                return False
        elif kind == "A" == entries[name][0]:
            if not matches(entries[name][1], value):
                return False
        elif not agrees_with(entries[name], [kind, value]):
            return False
    return True


def agrees_with(got, wanted):
    """any is any value, any-T one of type T."""
    if isinstance(wanted[1], bytes) and wanted[1].startswith(b"any"):
        return wanted[1] in (b"any", b"any-" + got[0].encode())
    return got == wanted


def matches(array, wanted):
    """Whether the arrays have the same items; tables in them have the same names in the same order."""
    if len(array) != len(wanted):
        return False
    for got, want in zip(array, wanted):
        if got[0] == want[0] == "F":
            if [entry[0] for entry in got[1]] != [entry[0] for entry in want[1]]:
                return False
            if not all(matches(a[2], b[2]) if a[1] == b[1] == "A" else agrees_with([*a[1:]], [*b[1:]])
                       for a, b in zip(got[1], want[1])):
                return False
        elif not agrees_with(list(got), list(want)):
            return False
    return True


class Play:
    """One script, being played."""

    def __init__(self, script, broker, timeout):
        self.script, self.broker, self.timeout = script, broker, timeout
        self.ctl_words = []
        unique = uuid.uuid4().hex[:10]
        self.variables = {"ID": unique, "q": "q." + unique, "x": "x." + unique}
        self.links, self.helper = {}, None
        self.declared = []
        self.last_properties = b""

    def play(self):
        """Raises Failure or Bad with the line that failed in front."""
        where = f"{self.script.name}:0"
        try:
            for number, line in self.script.lines:
                where = f"{self.script.name}:{number}: {line}"
                self.play_line(line)
            where = f"{self.script.name}: at its end"
            self.finish()
        except Failure as failure:
            raise Failure(f"{where}\n    {failure}") from None
        except (Bad, KeyError, ValueError, IndexError) as error:
            raise Bad(f"{where}\n    {type(error).__name__}: {error}") from None
        finally:
            for link in [*self.links.values(), self.helper]:
                if link:
                    link.drop()

    def play_line(self, line):
        if variant := VARIANT.fullmatch(line):
            if variant[1] != self.broker.kind:
                return
            line = variant[2]
        prefix = LINK_PREFIX.fullmatch(line)
        self.link_name, line = (prefix[1], prefix[2]) if prefix else ("A", line)
        line = VARIABLE.sub(lambda match: self.variables[match[1]], line)
        line, _, reply = line.partition(" -> ")
        command, *rest = words.split(line)
        self.ctl_words = rest  # as they stand: they may look like options
        action = getattr(self, "do_" + command, None)
        if not action:
            raise Bad(f"no command {command}")
        event = action(*words.sort_words(rest))
        if reply:
            self.match(event, words.sort_words(words.split(reply))[1])

    @property
    def link(self):
        if self.link_name not in self.links:
            raise Bad(f"connection {self.link_name} is not open")
        return self.links[self.link_name]

    def finish(self):
        """Every connection has said only what was expected, and still answers."""
        for link in self.links.values():
            if not link.ended and not link.closing and not link.lost:
                link.close()
            link.expect_no_leftovers(["connection.close"] if link.lost else [])
        if self.declared:
            for kind, name in self.declared:
                self.help(f"{kind}.delete", **{kind: name})

    def help(self, method, **fields):
        """A method on a connection of the runner's own; None when it was refused."""
        if not self.helper:
            self.helper = Link(self.broker.address, self.timeout)
            self.helper.start(b"guest", b"guest")
            self.helper.tune()
            self.helper.open()
        self.helper.call(1, "channel.open")
        self.helper.send_method(1, method, **fields)
        reply = self.helper.next_event(1)
        if reply.name == "channel.close":
            self.helper.send_method(1, "channel.close-ok")
            return None
        self.helper.call(1, "channel.close")
        return reply

    # Opening and closing.

    def do_connect(self, plain, options):
        self.links[self.link_name] = Link(self.broker.address, self.timeout)

    def do_start(self, plain, options):
        """user= pass= mechanism= response= name= capabilities=a,b or none, properties={…}"""
        given = {option.name: words.string(option.text) for option in options
                 if option.text and option.name != "properties"}
        given.update({option.name: words.table(option.text) for option in options
                      if option.name == "properties"})
        user, password = given.pop("user", b"guest"), given.pop("pass", b"guest")
        if "capabilities" in given:
            names = given["capabilities"].decode().split(",")
            given["capabilities"] = [name for name in names if name != "none"]
        return self.link.start(user, password, **given)

    def do_tune(self, plain, options):
        return self.link.tune(**{option.name: int(option.text) for option in options})

    def do_open(self, plain, options):
        """connect, start, tune, connection.open, and channel.open for 1 to channels=, 1 by default."""
        of_tune, of_open = ("channel_max", "frame_max", "heartbeat"), ("channels", "vhost")
        given = {option.name: option.text for option in options}
        self.do_connect([], [])
        self.do_start([], [option for option in options if option.name not in of_tune + of_open])
        self.do_tune([], [option for option in options if option.name in of_tune])
        self.link.open(words.string(given.get("vhost", "/")))
        for channel in range(1, int(given.get("channels", "1")) + 1):
            self.link.call(channel, "channel.open")

    def do_close(self, plain, options):
        self.link.close()

    def do_abort(self, plain, options):
        self.link.drop()

    def do_restart(self, plain, options):
        """restart term or kill: the connections are lost, but what they were told is still to be read."""
        self.broker.restart(plain[0])
        for link in self.links.values():
            link.lost = True
        self.helper = None

    # Sending.

    def do_hold(self, plain, options):
        self.link.held = b""

    def do_release(self, plain, options):
        self.link.release()

    def do_drip(self, plain, options):
        self.link.drip = plain[0] == "on"

    def do_send(self, plain, options):
        what, *rest = plain
        if what == "raw":
            self.link.send(words.octets(rest))
        elif what == "frame":
            self.link.send(amqp.write_frame(int(rest[0]), int(rest[1]), words.octets(rest[2:])))
        elif what == "header":
            given = {option.name: int(option.text) for option in options if option.name not in PROPERTY_KINDS}
            size, properties = given.pop("size"), amqp.write_properties(self.properties_of(options))
            self.link.send(amqp.write_frame(amqp.HEADER, int(rest[0]),
                                            amqp.write_header(size, properties, **given)))
        elif what == "body":
            self.link.send(amqp.write_frame(amqp.BODY, int(rest[0]), words.octets(rest[1:])))
        elif what == "heartbeat":
            self.link.send(amqp.write_frame(amqp.HEARTBEAT, int(rest[0]) if rest else 0, b""))
        else:
            self.send_method(what, rest, options)

    def send_method(self, name, plain, options):
        kinds = dict(amqp.METHODS[name][2])
        fields = {option.name: words.value(kinds[option.name], option.text) for option in options}
        for flag in plain[1:]:
            if kinds.get(flag) != "bit":
                raise Bad(f"{name} has no flag {flag}")
            fields[flag] = 1
        kind = name.split(".")[0]
        unique = self.variables["ID"].encode()
        if name.endswith(".declare") and not fields.get("exclusive") and unique in fields.get(kind, b""):
            self.declared.append((kind, fields[kind]))
        self.link.send_method(int(plain[0]), name, **fields)

    def do_call(self, plain, options):
        name, channel = plain[0], int(plain[1])
        self.send_method(name, plain[1:], options)
        return self.expect(name + "-ok", self.link.next_event(channel))

    def properties_of(self, options):
        return {option.name: words.value(PROPERTY_KINDS[option.name], option.text)
                for option in options if option.name in PROPERTY_KINDS}

    def do_publish(self, plain, options):
        """exchange= key= body= or bodies=a,b,c, flags, properties"""
        given = {option.name: option.text for option in options if option.name not in PROPERTY_KINDS}
        fields = {"exchange": words.string(given.pop("exchange", '""')),
                  "routing_key": words.string(given.pop("key", '""')), **dict.fromkeys(plain[1:], 1)}
        bodies = words.strings(given.pop("bodies")) if "bodies" in given else [words.string(
            given.pop("body", '""'))]
        if given:
            raise Bad(f"publish has no option {next(iter(given))}")
        self.last_properties = amqp.write_properties(self.properties_of(options))
        for body in bodies:
            self.link.send(amqp.publish_frames(int(plain[0]), fields, self.last_properties, body,
                                               self.link.frame_max))

    # Expecting.

    @staticmethod
    def expect(name, event):
        if event is None or event.name != name:
            raise Failure(f"expected {name}, got {event}")
        return event

    def do_expect(self, plain, options):
        what, *rest = plain
        if what in ("raw", "close", "heartbeat", "nothing"):
            return getattr(self, "expect_" + what)(rest, options)
        channel = int(rest[0]) if rest else 0
        bodies = [option for option in options if option.name == "bodies"]
        options = [option for option in options if option.name != "bodies"]
        for body in words.strings(bodies[0].text) if bodies else [None]:
            event = self.expect(what, self.link.next_event(channel))
            if body is not None and event.body != body:
                raise Failure(f"expected the body {body}, got {event}")
            self.match(event, options)
        return event

    def expect_raw(self, plain, options):
        wanted = words.octets(plain)
        got = self.link.wait_for_bytes(len(wanted))
        if got != wanted:
            raise Failure(f"expected {wanted.hex(' ')}, got {got.hex(' ')}")

    def expect_close(self, plain, options):
        """The broker closes the socket: within= seconds at most, not before after= seconds."""
        given = {option.name: float(option.text.removesuffix("s")) for option in options}
        begun = time.monotonic()
        self.link.wait_for_end(given.get("within", self.timeout))
        took = time.monotonic() - begun
        if took < given.get("after", 0):
            raise Failure(f"closed after {took:.1f} s")
        self.link.drop()

    def expect_heartbeat(self, plain, options):
        self.link.wait_for_heartbeat()

    def expect_nothing(self, plain, options):
        """Two round trips (asking for queue=, when given) bring nothing else; two, since a broker may answer
        the first before it delivers what was asked for earlier in the same breath. What must not bring
        anything has to be confirmed before."""
        channel = int(plain[0])
        for _ in range(2):
            if options:
                self.link.call(channel, "queue.declare", queue=words.string(options[0].text), passive=1)
            else:
                self.link.call(channel, "exchange.declare", exchange=b"amq.direct", passive=1)

    def do_get(self, plain, options):
        """get CHANNEL QUEUE [no_ack] [empty], options are what get-ok has to say"""
        channel, queue, *flags = plain
        self.link.send_method(int(channel), "basic.get", queue=words.string(queue), no_ack="no_ack" in flags)
        event = self.link.next_event(int(channel))
        self.expect("basic.get-empty" if "empty" in flags else "basic.get-ok", event)
        self.match(event, options)
        return event

    def do_confirmed(self, plain, options):
        """confirmed CHANNEL N or FIRST..LAST: acks for just these, one by one or several at once."""
        channel, numbers = int(plain[0]), plain[1].split("..")
        first, last = int(numbers[0]), int(numbers[-1])
        pending = set(range(first, last + 1))
        while pending:
            event = self.expect("basic.ack", self.link.next_event(channel))
            tag = event.fields["delivery_tag"]
            if tag not in pending:
                raise Failure(f"expected an ack of {sorted(pending)}, got {event}")
            pending = {n for n in pending if n > tag} if event.fields["multiple"] else pending - {tag}

    def check_close(self, event, code, text, options):
        """What channel.close and connection.close have in common."""
        got = event.fields["reply_text"]
        if event.fields["reply_code"] != code or words.string(text) not in got:
            raise Failure(f"expected {code} {text}, got {event}")
        readable = got.decode(errors="replace")
        if not readable.startswith(CODES[code]) or "\ufffd" in readable:
            raise Failure(f"a text of {code} begins with {CODES[code]} and is UTF-8: {event}")
        ids = event.fields["class_id"], event.fields["method_id"]
        for option in options:
            if option.name != "by" or amqp.METHODS[option.text][:2] != ids:
                raise Failure(f"expected it by {option.text}, got {event}")

    def do_refused(self, plain, options):
        """refused CHANNEL CODE [TEXT] [by=METHOD]: channel.close, which is answered."""
        channel, code, text = (*plain, '""')[:3]
        event = self.expect("channel.close", self.link.next_event(int(channel)))
        self.check_close(event, int(code), text, options)
        self.link.send_method(int(channel), "channel.close-ok")

    def do_dropped(self, plain, options):
        """dropped CODE [TEXT] [by=METHOD]: connection.close, which is answered, and the end of the stream."""
        code, text = (*plain, '""')[:2]
        event = self.expect("connection.close", self.link.next_event(0))
        self.check_close(event, int(code), text, options)
        self.link.send_method(0, "connection.close-ok")
        self.link.wait_for_end(self.timeout)

    def do_ends(self, plain, options):
        """The connection ends: by connection.close or by a closed socket, without another method before."""
        deadline = time.monotonic() + self.timeout
        while not self.link.closing and self.link.receive(deadline):
            self.link.cut_frames()
        self.link.expect_no_leftovers(["connection.close"])
        self.link.events.clear()
        self.link.drop()

    def do_tolerate(self, plain, options):
        """Methods that may or may not come in on this connection from now on."""
        self.link.tolerated.update(plain)

    def do_wait(self, plain, options):
        """wait QUEUE gone, or ready=N, consumers=N: asks until it is so."""
        names = {"ready": "message_count", "consumers": "consumer_count"}
        deadline = time.monotonic() + self.timeout
        while True:
            state = self.help("queue.declare", queue=words.string(plain[0]), passive=1)
            if state is None and "gone" in plain:
                return
            if state and options and all(state.fields[names[o.name]] == int(o.text) for o in options):
                return
            if time.monotonic() > deadline:
                raise Failure(f"it is {state}")
            time.sleep(0.02)

    def do_ctl(self, plain, options):
        """ctl VERB…: what an administrator says with leveretctl or rabbitmqctl; it has to succeed."""
        self.broker.ctl([words.string(word).decode() for word in self.ctl_words])

    def do_log(self, plain, options):
        """log TEXT: waits until the broker's log has it."""
        text, deadline = words.string(plain[0]).decode(), time.monotonic() + self.timeout
        while text not in self.broker.log_text():
            if time.monotonic() > deadline:
                raise Failure(f"the log has no '{text}'")
            time.sleep(0.02)

    # Comparing.

    def match(self, event, options):
        for option in options:
            if option.name == "properties":
                sent, got = self.last_properties, event.raw_properties
                if got != sent:
                    raise Failure(f"sent {sent.hex(' ')}\n    got  {got.hex(' ')}")
                continue
            actual = event.look_up(option.name)
            if option.operator == ">":
                self.variables[option.text] = actual.decode() if isinstance(actual, bytes) else str(actual)
            elif not self.agrees(event, option, actual):
                raise Failure(f"expected {option.name}{option.operator}{option.text}, got {event}")

    def agrees(self, event, option, actual):
        if option.text == "absent" or actual is None:
            return option.text == "absent" and actual is None
        if option.of_length:
            return len(actual) == int(option.text)
        if isinstance(actual, int):
            return actual == int(option.text, 0)
        kind = "table" if isinstance(actual, list) else "lstr"
        wanted = words.value(kind, option.text)
        if option.operator == "=":
            return wanted == actual
        return contains(actual, wanted) if kind == "table" else wanted in actual
