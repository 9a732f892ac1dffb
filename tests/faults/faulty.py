"""faulty.py - a leveret with powerloss.so between it and its disk."""
import importlib.util
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "wire"))
import broker as brokers  # noqa: E402


def load_crash():
    """tests/crash/run.py as a module: its ledger, publishers and consumers."""
    spec = importlib.util.spec_from_file_location("crash", HERE.parent / "crash" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Calls that change files and that powerloss.c does not stand in front of.
NOT_COVERED = [b"pwritev", b"pwritev64", b"writev", b"fallocate", b"fallocate64", b"posix_fallocate",
               b"posix_fallocate64", b"copy_file_range", b"sendfile64", b"truncate64", b"openat64",
               b"unlinkat", b"renameat", b"link", b"syncfs", b"sync_file_range", b"msync"]


class Faulty(brokers.Leveret):
    """`faults`: the settings for the next start, by the names of powerloss.c without FAULTS_. A library of
    None is left out."""

    def __init__(self, leveret, library, settings=()):
        super().__init__(leveret, settings)
        names = pathlib.Path(self.path).read_bytes()
        for name in NOT_COVERED:
            if b"\0" + name + b"\0" in names:
                raise SystemExit(f"leveret calls {name.decode()}, which powerloss.c has to learn first")
        self.library, self.faults = library and str(pathlib.Path(library).resolve()), {}
        self.side = self.directory / "side"
        self.side.mkdir()
        self.starts = 0

    def start(self):
        if not self.library:
            super().start()
            return
        settings = {"LD_PRELOAD": self.library, "FAULTS_DIR": str(self.directory / "data"),
                    "FAULTS_SIDE": str(self.side), "FAULTS_SEED": "1"}
        settings.update({"FAULTS_" + name: str(value) for name, value in self.faults.items()})
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        self.starts += 1
        try:
            super().start()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def check(self):
        """None when `leveret store check` finds the directory clean, else what it said."""
        command = [self.path, "store", "check", str(self.directory / "data")]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120,
                                check=False)
        if result.returncode == 0:
            return None
        return f"status {result.returncode}\n{result.stdout}{result.stderr}"

    def count_in_log(self, text):
        return (self.directory / "log").read_text(errors="replace").count(text)

    def last_line(self):
        lines = (self.directory / "log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else ""
