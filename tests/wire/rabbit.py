"""rabbit.py - a RabbitMQ of our own (Debian's package), also for scripts that want a configuration or ctl."""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

from broker import BrokerFailed

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "bench"))
import brokers  # noqa: E402

PLUGINS = ("rabbitmq_consistent_hash_exchange", "rabbitmq_random_exchange", "rabbitmq_sharding",
           "rabbitmq_event_exchange",
           "rabbitmq_recent_history_exchange")
CTL_SECONDS = 120


class Process(brokers.RabbitMQ):
    """With settings, and the plugins of the exchange types."""
    ready_within = 240

    def __init__(self, folder, settings):
        super().__init__(folder)
        self.settings = settings

    def prepare(self):
        super().prepare()
        with open(os.path.join(self.folder, "rabbitmq.conf"), "a", encoding="utf-8") as file:
            file.writelines(setting.replace("=", " = ", 1) + "\n" for setting in self.settings)
        with open(os.path.join(self.folder, "enabled_plugins"), "w", encoding="utf-8") as file:
            file.write(f"[{','.join(PLUGINS)}].\n")


class RabbitMQ:
    """What play.py and run.py want of a broker."""

    kind = "rabbitmq"

    def __init__(self, settings=()):
        self.settings = list(settings)
        self.temporary = tempfile.TemporaryDirectory(prefix="leveret-rabbit-", ignore_cleanup_errors=True)
        self.process = Process(os.path.join(self.temporary.name, "node"), self.settings)
        self.address = "127.0.0.1", self.process.port

    def start(self):
        try:
            self.process.start()
        except SystemExit as ended:
            raise BrokerFailed(str(ended)) from None

    def check_alive(self):
        if not self.process.alive():
            raise BrokerFailed("RabbitMQ died")

    def restart(self, how):
        self.process.resume(signal.SIGTERM if how == "term" else signal.SIGKILL)

    def ctl(self, words):
        done = subprocess.run([os.path.join(Process.home, "rabbitmqctl"), *words],
                              env=self.process.environment(), capture_output=True, text=True,
                              timeout=CTL_SECONDS, check=False)
        if done.returncode:
            raise BrokerFailed(f"rabbitmqctl {' '.join(words)}: {done.stdout}{done.stderr}")

    def log_text(self):
        folder = pathlib.Path(self.process.folder, "log")
        return "".join(path.read_text(errors="replace") for path in sorted(folder.glob("*.log")))

    def stop(self):
        try:
            self.process.stop()
        finally:
            self.temporary.cleanup()

    discard = stop
