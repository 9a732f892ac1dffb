"""script.py - the file of a wire script: header lines and commands (the language: tests/README.md)."""
import pathlib
import re

HEADER_LINE = re.compile(r"# *(checks|config|restart|only|rabbitmq|slow) *: *(.*)")
VARIANT = re.compile(r"(leveret|rabbitmq)\| *(.*)", re.S)


class Script:
    """A file: its header lines and its commands."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.name = self.path.name
        self.header, self.lines = {}, []
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
            if match := HEADER_LINE.fullmatch(line.strip()):
                self.header.setdefault(match[1], []).append(match[2])
            elif line.strip() and not line.lstrip().startswith("#"):
                self.lines.append((number, line.strip()))

    def settings(self):
        return [setting.replace(" ", "") for setting in self.header.get("config", [])]

    def difference(self):
        """Why RabbitMQ differs, or None."""
        text = self.header.get("rabbitmq", [None])[0]
        return text.removeprefix("differs - ") if text else None

    def expected_to_fail(self, kind):
        """A script that differs and has no lines of RabbitMQ's own shows the difference by failing there."""
        own_lines = any(VARIANT.match(line) for _, line in self.lines)
        return kind == "rabbitmq" and self.difference() is not None and not own_lines

    def needs_insight(self):
        """Whether it talks to the administrator's side of the broker, or reads its log."""
        return any(re.search(r"(^|\s)(ctl|log) ", line) for _, line in self.lines)

    def needs_own_broker(self):
        return "config" in self.header or "restart" in self.header or self.needs_insight()
