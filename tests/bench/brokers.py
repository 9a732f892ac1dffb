"""brokers - starts and ends the brokers that compare measures, each on loopback only, each by its pid."""
import os
import shutil
import signal
import socket
import struct
import subprocess
import time


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def receive_frame(s):
    head = b""
    while len(head) < 7:
        part = s.recv(7 - len(head))
        if not part:
            raise OSError("closed")
        head += part
    left = struct.unpack(">I", head[3:])[0] + 1
    payload = b""
    while len(payload) < left:
        part = s.recv(left - len(payload))
        if not part:
            raise OSError("closed")
        payload += part
    return struct.unpack(">HH", payload[:4])


def method_frame(payload):
    return b"\x01\0\0" + struct.pack(">I", len(payload)) + payload + b"\xce"


def shake_hands(port):
    """Logs in and opens the vhost; OSError when the broker is not ready."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.sendall(b"AMQP\0\0\x09\x01")
        receive_frame(s)
        s.sendall(method_frame(b"\0\x0a\0\x0b" b"\0\0\0\0" b"\x05PLAIN" b"\0\0\0\x0c\0guest\0guest"
                               b"\x05en_US"))
        if receive_frame(s) != (10, 30):
            raise OSError("no connection.tune")
        s.sendall(method_frame(b"\0\x0a\0\x1f" + struct.pack(">HIH", 100, 131072, 0)) +
                  method_frame(b"\0\x0a\0\x28" b"\x01/" b"\0\0"))
        if receive_frame(s) != (10, 41):
            raise OSError("no connection.open-ok")
        s.sendall(method_frame(b"\0\x0a\0\x32" + struct.pack(">HBHH", 200, 0, 0, 0)))
        receive_frame(s)


def rss_bytes(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise OSError(f"no VmRSS of {pid}")


def family(pid):
    """The process, all that descend from it, and what is in its process group: the broker and its helpers."""
    parents, groups = {}, {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:  # gone meanwhile
            continue
        parents[int(name)], groups[int(name)] = int(fields[1]), int(fields[2])
    found = {pid} | {other for other, group in groups.items() if group == pid}
    more = True
    while more:
        more = {child for child, parent in parents.items() if parent in found} - found
        found |= more
    return found


class NotReady(SystemExit):
    """A broker that did not come up in time; its text has its last words."""


class Broker:
    """A broker process. Subclasses say how to launch it."""
    name = "?"
    ready_within = 60

    def __init__(self, folder, certificates=None):
        """`certificates` is a folder made by tests/tls/certs.sh: then it listens for TLS, too."""
        self.folder = folder
        self.port, self.tls_port = free_port(), free_port()
        self.certificates = certificates
        self.process = None
        self.pid = None
        self.ready_ms = None
        self.frozen = set()

    def freeze(self):
        """Stops the process and its children where they are, so that they do not disturb who is measured. No
        client may be connected."""
        if self.process and not self.frozen:
            self.frozen = self.signal_all(family(self.process.pid), signal.SIGSTOP)

    def thaw(self):
        """Lets it go on, and gives its timers a moment to catch up."""
        if self.frozen:
            self.signal_all(self.frozen, signal.SIGCONT)
            self.frozen = set()
            time.sleep(0.2)

    @staticmethod
    def signal_all(pids, number):
        """The processes that were still there."""
        reached = set()
        for pid in pids:
            try:
                os.kill(pid, number)
                reached.add(pid)
            except ProcessLookupError:
                pass
        return reached

    def start(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        self.prepare()
        self.launch()

    def launch(self):
        """Starts the process on what its folder holds and waits until it serves a client."""
        began = time.monotonic()
        with open(self.log_path(), "ab") as log:
            self.process = subprocess.Popen(self.command(), env=self.environment(), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        while True:
            try:
                shake_hands(self.port)
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() - began > self.ready_within:
                    raise NotReady(f"{self.name} did not start:\n{self.last_words()}") from None
                time.sleep(0.0005)
        self.ready_ms = (time.monotonic() - began) * 1000
        self.pid = self.find_pid()

    def uri(self, tls=False):
        return f"amqp{'s' if tls else ''}://guest:guest@127.0.0.1:{self.tls_port if tls else self.port}/"

    def tls_settings(self):
        """The keys of both brokers for TLS, none without certificates."""
        if not self.certificates:
            return {}
        return {"listeners.ssl.1": f"127.0.0.1:{self.tls_port}",
                "ssl_options.cacertfile": os.path.join(self.certificates, "ca.pem"),
                "ssl_options.certfile": os.path.join(self.certificates, "server.pem"),
                "ssl_options.keyfile": os.path.join(self.certificates, "server.key"),
                "ssl_options.verify": "verify_none"}

    def prepare(self):
        pass

    def environment(self):
        return None

    def find_pid(self):
        return self.process.pid

    def log_path(self):
        return os.path.join(self.folder, "output.log")

    def last_words(self):
        with open(self.log_path(), encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-10:])

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def rss_when_idle(self):
        time.sleep(1)
        return rss_bytes(self.pid)

    def restart(self):
        self.stop()
        self.start()

    def resume(self, number):
        """Ends the broker with a signal and starts it again on its data; returns the milliseconds until it
        serves a client again."""
        self.thaw()
        os.kill(self.pid, number)
        self.process.wait(self.ready_within)
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process = self.pid = None
        self.launch()
        return self.ready_ms

    def data_path(self):
        return os.path.join(self.folder, "data")

    def disk_bytes(self):
        total = 0
        for folder, _, names in os.walk(self.data_path()):
            for name in names:
                try:
                    total += os.stat(os.path.join(folder, name)).st_blocks * 512
                except FileNotFoundError:
                    pass
        return total

    def stop(self):
        """Asks the process to end, then makes it and its children; safe when it never started."""
        if not self.process:
            return
        self.thaw()
        try:
            os.kill(self.pid or self.find_pid(), signal.SIGTERM)
        except (OSError, ValueError):  # gone, or not yet that far
            self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # its own group: start_new_session
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process = self.pid = None


def alone(broker, all_brokers):
    """Freezes all others, so that this one has the machine."""
    for other in all_brokers:
        if other is not broker:
            other.freeze()
    broker.thaw()


class Leveret(Broker):
    name = "Leveret"

    def __init__(self, folder, path, certificates=None):
        super().__init__(folder, certificates)
        self.path = os.path.abspath(path)

    def command(self):
        return [self.path, "--data-dir", self.data_path(),
                "--set", f"listeners.tcp.1=127.0.0.1:{self.port}", "--set", "log.console.level=warning",
                *(part for key, value in self.tls_settings().items() for part in ("--set", f"{key}={value}"))]

    def version(self):
        done = subprocess.run([self.path, "--version"], stdout=subprocess.PIPE, text=True, check=False)
        return done.stdout.strip() or self.name


class RabbitMQ(Broker):
    name = "RabbitMQ"
    home = "/usr/lib/rabbitmq/bin"

    def __init__(self, folder, certificates=None):
        super().__init__(folder, certificates)
        self.dist_port, self.epmd_port = free_port(), free_port()
        self.epmd = None

    @staticmethod
    def installed():
        return os.access(os.path.join(RabbitMQ.home, "rabbitmq-server"), os.X_OK)

    def prepare(self):
        for name in ("mnesia", "log", "home"):
            os.makedirs(os.path.join(self.folder, name))
        with open(os.path.join(self.folder, "rabbitmq.conf"), "w", encoding="utf-8") as file:
            file.write(f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.console = false\n")
            file.writelines(f"{key} = {value}\n" for key, value in self.tls_settings().items())
        with open(os.path.join(self.folder, "enabled_plugins"), "w", encoding="utf-8") as file:
            file.write("[].\n")
        if not self.epmd:
            self.epmd = subprocess.Popen(["epmd", "-port", str(self.epmd_port), "-address", "127.0.0.1"],
                                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL, start_new_session=True)

    def data_path(self):
        return os.path.join(self.folder, "mnesia")

    def environment(self):
        return {
            "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": os.path.join(self.folder, "home"),
            "RABBITMQ_NODENAME": "compare@localhost", "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist_port), "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1", "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_MNESIA_BASE": os.path.join(self.folder, "mnesia"),
            "RABBITMQ_LOG_BASE": os.path.join(self.folder, "log"),
            "RABBITMQ_CONFIG_FILE": os.path.join(self.folder, "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": os.path.join(self.folder, "enabled_plugins"),
            "RABBITMQ_PID_FILE": os.path.join(self.folder, "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def command(self):
        return [os.path.join(self.home, "rabbitmq-server")]

    def find_pid(self):
        """The Erlang machine's: the process started is a shell script."""
        with open(os.path.join(self.folder, "pid"), encoding="utf-8") as file:
            return int(file.read())

    def version(self):
        done = subprocess.run(["rabbitmqctl", "version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              env=self.environment(), text=True, check=False)
        return f"RabbitMQ {done.stdout.strip()}".strip()

    def restart(self):
        epmd, self.epmd = self.epmd, None  # stays, with its port
        self.stop()
        self.epmd = epmd
        self.start()

    def stop(self):
        super().stop()
        if self.epmd:
            self.epmd.terminate()
            self.epmd.wait()
            self.epmd = None
