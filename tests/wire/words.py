"""words.py - the words of a wire script: options, strings, octets, tables (language: tests/README.md)."""
import re
import struct

import amqp

ESCAPES = {"r": b"\r", "n": b"\n", '"': b'"', "\\": b"\\"}
OPTION = re.compile(r"(len\()?([a-z_0-9]+)\)?([=~>])(.*)", re.S)
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"(?:\*(\d+))?', re.S)
HEX = re.compile(r"x'([0-9a-fA-F ]*)'(?:\*(\d+))?")
BARE = re.compile(r"""[^\s\]}{[="]+""")
NESTED = re.compile(r"nested\((\d+)\)")


class Bad(Exception):
    """The script is wrong, not the broker."""


class Option:
    """name=value, name~value (contains) or name>variable; len(name)=value looks at the length."""

    def __init__(self, match):
        self.of_length = bool(match[1])
        self.name, self.operator, self.text = match[2], match[3], match[4]


def split(line):
    """A line's words; quotes and brackets keep spaces together."""
    words, word, depth, quoted = [], "", 0, None
    at = 0
    while at < len(line):
        char = line[at]
        if quoted:
            if char == "\\":
                word, at = word + char, at + 1
                char = line[at:at + 1]
            elif char == quoted:
                quoted = None
        elif char == '"' or (char == "'" and word.endswith("x")):
            quoted = char
        elif char in "{[":
            depth += 1
        elif char in "}]":
            depth -= 1
        elif char.isspace() and not depth:
            if word:
                words.append(word)
            word, char = "", ""
        word, at = word + char, at + 1
    if quoted or depth:
        raise Bad("a quote or bracket is left open")
    return words + [word] if word else words


def sort_words(words):
    """(positional words, options): an option begins with a name and =, ~ or >."""
    plain, options = [], []
    for word in words:
        match = OPTION.fullmatch(word)
        if match:
            options.append(Option(match))
        else:
            plain.append(word)
    return plain, options


def unescape(text):
    data, at = b"", 0
    while at < len(text):
        if text[at] != "\\":
            data += text[at].encode()
        elif text[at + 1] in ESCAPES:
            data, at = data + ESCAPES[text[at + 1]], at + 1
        else:
            raise Bad(f"unknown escape \\{text[at + 1]}")
        at += 1
    return data


class Literal:
    """Reads the literals of one word."""

    def __init__(self, text):
        self.text, self.at = text, 0

    def match(self, pattern):
        match = pattern.match(self.text, self.at)
        if match:
            self.at = match.end()
        return match

    def skip(self, char):
        if self.text.startswith(char, self.at):
            self.at += len(char)
            return True
        return False

    def space(self):
        while self.text[self.at:self.at + 1].isspace():
            self.at += 1

    def string(self):
        """\"quoted\"*count, x'hex'*count or a bare word; None when there is none here."""
        if match := self.match(QUOTED):
            return unescape(match[1]) * int(match[2] or 1)
        if match := self.match(HEX):
            return bytes.fromhex(match[1]) * int(match[2] or 1)
        if match := self.match(BARE):
            return match[0].encode()
        return None

    def table(self):
        """The rest of {name=value name=value}"""
        fields = []
        self.space()
        while not self.skip("}"):
            name = self.string()
            if name is None or not self.skip("="):
                raise Bad(f"a table entry is name=value: {self.text}")
            fields.append((name, *self.field()))
            self.space()
        return fields

    def array(self):
        items = []
        self.space()
        while not self.skip("]"):
            items.append(self.field())
            self.space()
        return items

    def field(self):
        """TYPE:literal, or a literal whose type is plain: I, l, t, S, F, A, V."""
        kind = None
        if self.text[self.at + 1:self.at + 2] == ":":
            kind, self.at = self.text[self.at], self.at + 2
        if self.skip("{"):
            return kind or "F", self.table()
        if self.skip("["):
            return kind or "A", self.array()
        quoted = self.text.startswith('"', self.at)
        value = self.string()
        if value is None:
            raise Bad(f"a value is missing in {self.text}")
        return typed(kind or ("S" if quoted else guess(value)), value)


def guess(value):
    if value in (b"true", b"false"):
        return "t"
    if value == b"void":
        return "V"
    if re.fullmatch(rb"-?\d+", value):
        return "I" if -2**31 <= int(value) < 2**31 else "l"
    return "S"


def typed(kind, value):
    if kind == "t":
        return kind, value == b"true"
    if kind in amqp.TABLE_NUMBERS:
        return kind, float(value) if kind in "fd" else int(value)
    if kind == "D":
        scale, number = value.split(b"/")
        return kind, (int(scale), int(number))
    if kind == "V":
        return kind, None
    if kind in "Sx":
        return kind, value
    raise Bad(f"no field type {kind}")


def nested(depth):
    """The fields of a table with `depth` tables inside each other."""
    fields = b""
    for _ in range(depth):
        fields = b"\x01nF" + struct.pack(">I", len(fields)) + fields
    return fields


def string(text):
    """A whole word as bytes; pieces may be put together: "a"*10"b"."""
    literal, data = Literal(text), b""
    while literal.at < len(text):
        piece = literal.string()
        if piece is None:
            raise Bad(f"cannot read {text}")
        data += piece
    return data


def table(text):
    """{…}, nested(N), or x'hex' for the raw fields."""
    if match := NESTED.fullmatch(text):
        return nested(int(match[1]))
    literal = Literal(text)
    if literal.skip("{"):
        return literal.table()
    return string(text)


def strings(text):
    """a,b,c as a list of bytes."""
    return [item.encode() for item in text.split(",")]


def value(kind, text):
    """An option's text as the argument type `kind`."""
    if kind in amqp.INTEGERS or kind == "bit":
        return int(text, 0)
    return table(text) if kind == "table" else string(text)


def octets(items):
    """Words of hex digits, quoted strings and x'..'*n put together."""
    return b"".join(string(item) if item[0] in "\"x" else bytes.fromhex(item) for item in items)
