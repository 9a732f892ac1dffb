"""ctl.py - leveretctl, and the control socket itself, for tests."""
import json
import pathlib
import socket
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "wire"))
from broker import Leveret  # noqa: E402

PATIENCE_S = 60


class Ctl:
    """Runs leveretctl against one broker."""

    def __init__(self, path, broker):
        self.path, self.broker = str(pathlib.Path(path).resolve()), broker

    @property
    def socket(self):
        return self.broker.directory / "data" / "leveret.sock"

    def run(self, *words, text=None, status=0):
        """Standard output; the exit status has to be `status`, and what went wrong is in `error`."""
        command = [self.path, "--socket", str(self.socket), *map(str, words)]
        done = subprocess.run(command, input=text or "", capture_output=True, text=True, timeout=PATIENCE_S,
                              check=False)
        self.error = done.stderr
        if done.returncode != status:
            raise AssertionError(f"{' '.join(command[3:])} ended with {done.returncode}, not {status}: "
                                 f"{done.stdout}{done.stderr}")
        return done.stdout

    def quiet(self, *words, **how):
        return self.run("-q", *words, **how)

    def rows(self, *words, **how):
        return json.loads(self.run("--formatter", "json", *words, **how))

    def fails(self, status, error, *words):
        self.run(*words, status=status)
        if error not in self.error:
            raise AssertionError(f"'{error}' is not said in: {self.error}")


class Line:
    """A client of the control socket that says what it likes."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else (json.dumps(data) + "\n").encode())

    def answer(self):
        """The rows and the last line; None when the server has hung up."""
        rows = []
        while True:
            text = self.file.readline()
            if not text:
                return None
            line = json.loads(text)
            if "row" not in line:
                return rows, line
            rows.append(line["row"])

    def ask(self, data):
        self.send(data)
        return self.answer()

    def close(self):
        self.file.close()
        self.socket.close()


__all__ = ["Ctl", "Leveret", "Line"]
