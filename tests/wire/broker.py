"""broker.py - the broker under test: a leveret started for the run, or one that runs already."""
import pathlib
import random
import signal
import socket
import subprocess
import tempfile
import time

import link

START_SECONDS = 20
STOP_SECONDS = 20
CTL_SECONDS = 60


class BrokerFailed(Exception):
    """The broker did not start, or died, or did not stop as it should."""


def free_port():
    """A port that nobody listens on, below those that the system gives to outgoing connections."""
    while True:
        with socket.socket() as probe:
            port = random.randrange(20000, 32000)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Leveret:
    """A leveret of our own: loopback, a free port, a data directory that goes away with it."""

    kind = "leveret"
    certificates = None  # a folder made by tests/tls/certs.sh: then it listens for TLS only

    def __init__(self, path, settings=()):
        self.path, self.settings = str(pathlib.Path(path).resolve()), list(settings)
        self.address = "127.0.0.1", free_port()
        # Goes away at the end of the process at the latest.
        self.temporary = tempfile.TemporaryDirectory(prefix="leveret-test-", ignore_cleanup_errors=True)
        self.directory = pathlib.Path(self.temporary.name)
        self.process = None

    def start(self):
        options = [*self.listeners(), *self.settings]
        command = [self.path, "--data-dir", str(self.directory / "data")]
        for option in options:
            command += ["--set", option]
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self.accepts():
            if self.process.poll() is not None:
                raise BrokerFailed(f"the broker ended with {self.process.returncode}\n{self.log_tail()}")
            if time.monotonic() > deadline:
                self.process.kill()
                raise BrokerFailed(f"the broker does not listen on {self.address}\n{self.log_tail()}")
            time.sleep(0.01)

    def listeners(self):
        place = f"127.0.0.1:{self.address[1]}"
        if not self.certificates:
            return [f"listeners.tcp.1={place}"]
        return ["listeners.tcp=none", f"listeners.ssl.1={place}",
                f"ssl_options.certfile={self.certificates}/server.pem",
                f"ssl_options.keyfile={self.certificates}/server.key"]

    def accepts(self):
        try:
            socket.create_connection(self.address, timeout=1).close()
            return True
        except OSError:
            return False

    def restart(self, how):
        """how: term, which has to end with status 0, or kill."""
        self.check_alive()
        self.end(signal.SIGTERM if how == "term" else signal.SIGKILL)
        self.start()

    def check_alive(self):
        if self.process.poll() is not None:
            raise BrokerFailed(f"the broker died with {self.process.returncode}\n{self.log_tail()}")

    def end(self, number):
        self.process.send_signal(number)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise BrokerFailed(f"the broker did not stop in {STOP_SECONDS} s\n{self.log_tail()}") from None
        if status != (0 if number == signal.SIGTERM else -number):
            raise BrokerFailed(f"the broker ended with {status}\n{self.log_tail()}")

    def stop(self):
        """Ends the broker and removes its files; BrokerFailed unless it was alive and ends well."""
        try:
            if self.process:
                self.check_alive()
                self.end(signal.SIGTERM)
        finally:
            self.temporary.cleanup()

    def discard(self):
        """Ends the broker, however it stands."""
        try:
            self.stop()
        except BrokerFailed as failed:
            print(failed)

    def ctl(self, words):
        """A verb of leveretctl, the program beside the server's."""
        path = pathlib.Path(self.path).with_name("leveretctl")
        done = subprocess.run([str(path), "--socket", str(self.directory / "data" / "leveret.sock"), *words],
                              capture_output=True, text=True, timeout=CTL_SECONDS, check=False)
        if done.returncode:
            raise BrokerFailed(f"leveretctl {' '.join(words)}: {done.stdout}{done.stderr}")

    def log_text(self):
        return (self.directory / "log").read_text(errors="replace")

    def log_tail(self):
        return "".join("    | " + line + "\n" for line in self.log_text().splitlines()[-40:])


class Running:
    """A broker that somebody else started; `has` is how its owner says it is configured."""

    def __init__(self, host, port, has=()):
        self.address, self.settings = (host, port), list(has)
        self.kind = "rabbitmq" if self.product() == b"RabbitMQ" else "leveret"

    def product(self):
        probe = link.Link(self.address, 10)
        try:
            probe.send(link.PROTOCOL_HEADER)
            start = probe.next_event(0)
            return dict((name, value) for name, _, value in start.fields["server_properties"])[b"product"]
        finally:
            probe.drop()

    def check_alive(self):
        socket.create_connection(self.address, timeout=10).close()

    def stop(self):
        pass
