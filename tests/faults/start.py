#!/usr/bin/env python3
"""start.py - what a broker does when it cannot start, runs out of descriptors, or the clock jumps.

Each case has a defined outcome: an exit status and a sentence, or a service that goes on."""
import argparse
import os
import pathlib
import resource
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time

from faulty import brokers

import link as links  # noqa: E402  (tests/wire, which faulty puts on the path)

WAIT_SECONDS = 20
CASES = []


def case(function):
    CASES.append(function)
    return function


class Wrong(Exception):
    """A case did not come out as defined."""


class Bench:
    """A directory of a case, and the broker in it."""

    def __init__(self, options):
        self.options = options
        self.temporary = tempfile.TemporaryDirectory(prefix="leveret-start-", ignore_cleanup_errors=True)
        self.data = pathlib.Path(self.temporary.name) / "data"
        self.process, self.port = None, brokers.free_port()
        self.log = pathlib.Path(self.temporary.name) / "log"

    def start(self, data=None, sets=(), **settings):
        """Starts the broker and waits until it serves or has ended."""
        command = [self.options.leveret, "--data-dir", str(data or self.data),
                   "--set", f"listeners.tcp.1=127.0.0.1:{self.port}"]
        for setting in sets:
            command += ["--set", setting]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            **settings)
        self.wait(lambda: self.process.poll() is not None or self.said("ready: clients can connect"),
                  "to start")
        return self

    def said(self, text):
        return self.log.exists() and text in self.log.read_text(errors="replace")

    def count(self, text):
        return self.log.read_text(errors="replace").count(text)

    def wait(self, condition, what):
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                said = self.log.read_text(errors="replace")[-2000:]
                raise Wrong(f"waited {WAIT_SECONDS} s for it {what}:\n{said}")
            time.sleep(0.01)

    def expect_refusal(self, *texts, data=None, **settings):
        """A start has to fail, with these texts in its last line."""
        self.log.unlink(missing_ok=True)
        self.start(data, **settings)
        status = self.process.wait(WAIT_SECONDS)
        lines = self.log.read_text(errors="replace").splitlines()
        for text in texts:
            if not lines or text not in lines[-1]:
                raise Wrong(f"'{text}' is not in the last line of:\n" + "\n".join(lines))
        if status != 1 or len(lines) > 2:
            raise Wrong(f"status {status}:\n" + "\n".join(lines))

    def expect_service(self, sets=()):
        self.log.unlink(missing_ok=True)
        self.start(sets=sets)
        link = self.connect()
        link.close()

    def connect(self, heartbeat=0):
        link = links.Link(("127.0.0.1", self.port), WAIT_SECONDS)
        link.start(b"guest", b"guest")
        link.tune(heartbeat=heartbeat)
        link.open()
        link.call(1, "channel.open")
        return link

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(WAIT_SECONDS)

    def fill(self, sets=()):
        """Some durable data, and the broker killed, so that definitions are in the write-ahead log too."""
        self.start(sets=sets)
        link = self.connect()
        link.call(1, "queue.declare", queue=b"q", durable=1)
        link.call(1, "confirm.select")
        for _ in range(20):
            link.send(links.amqp.publish_frames(1, {"exchange": b"", "routing_key": b"q"},
                                                links.amqp.write_properties({"delivery_mode": 2}),
                                                b"x" * 1000, link.frame_max))
        confirmed = 0
        while confirmed < 20:
            confirmed = link.next_event(1).fields["delivery_tag"]
        self.end(signal.SIGKILL)
        self.log.unlink()

    def depth(self):
        link = self.connect()
        count = link.call(1, "queue.declare", queue=b"q", durable=1).fields["message_count"]
        link.close()
        return count

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.temporary.cleanup()


def expect(condition, text):
    if not condition:
        raise Wrong(text)


# The data directory.


@case
def second_process(bench):
    """It is told who has the directory, and the first one goes on."""
    bench.fill()
    bench.start()
    first = bench.process
    port, bench.port = bench.port, brokers.free_port()
    bench.expect_refusal(f"{bench.data}: in use by the process with pid {first.pid}")
    bench.process, bench.port = first, port
    expect(bench.depth() == 20, "the first one has lost messages")
    expect(bench.end() == 0, "the first one does not stop")


@case
def newer_definitions(bench):
    """Refused with both versions, and nothing is changed."""
    bench.fill()
    path = bench.data / "definitions.db"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 9")
    database.commit()
    database.close()
    before = path.read_bytes()
    bench.expect_refusal(f"{path}: its schema has version 9, this program knows version 6")
    expect(path.read_bytes() == before, "it changed the file")


SUMMED = ("meta", "vhost", "user", "permission", "topic_permission", "parameter", "exchange", "queue",
          "binding")


@case
def definitions_without_checksums(bench):
    """Version 5 gets them; from then on a changed row of a queue is refused, by name."""
    path = bench.data / "definitions.db"
    bench.fill()
    database = sqlite3.connect(path)
    for table in SUMMED:
        database.execute(f"ALTER TABLE {table} DROP COLUMN sum")
    database.execute("PRAGMA user_version = 5")
    database.commit()
    database.close()
    bench.start()
    expect(bench.depth() == 20, "messages are missing")
    expect(bench.end() == 0, "it does not stop")
    database = sqlite3.connect(path)
    expect(all(database.execute(f"SELECT count(*) FROM {table} WHERE sum = 0").fetchone() == (0,)
               for table in SUMMED), "a row has no checksum")
    name, = database.execute("SELECT name FROM queue").fetchone()
    database.execute("UPDATE queue SET name = name || 'x'")
    database.commit()
    database.close()
    bench.expect_refusal(f"{path}: the row of queue '{name}x' (id 1) in vhost '/' is damaged: its checksum "
                         "is wrong; its messages would be lost without it")


@case
def older_definitions(bench):
    """Version 2 is brought up to this one, and all is there."""
    bench.fill()
    database = sqlite3.connect(bench.data / "definitions.db")
    for change in ("DROP TABLE topic_permission", "DROP TABLE parameter",
                   "ALTER TABLE vhost DROP COLUMN args", "ALTER TABLE user DROP COLUMN type",
                   "ALTER TABLE user DROP COLUMN args", "ALTER TABLE page DROP COLUMN born_first",
                   "ALTER TABLE page DROP COLUMN born_last", "ALTER TABLE page DROP COLUMN own_first",
                   "ALTER TABLE page DROP COLUMN self_sum", "ALTER TABLE page DROP COLUMN place_sum",
                   "ALTER TABLE page DROP COLUMN progress_sum",
                   *(f"ALTER TABLE {table} DROP COLUMN sum" for table in (
                       "meta", "vhost", "user", "permission", "exchange", "queue", "binding")),
                   "PRAGMA user_version = 2"):
        database.execute(change)
    database.commit()
    database.close()
    bench.start()
    expect(bench.depth() == 20, "messages are missing")
    expect(bench.end() == 0, "it does not stop")
    database = sqlite3.connect(bench.data / "definitions.db")
    expect(database.execute("PRAGMA user_version").fetchone() == (6,), "the version is not the new one")
    expect(database.execute("SELECT DISTINCT type FROM user").fetchall() ==
           [("rabbit_password_hashing_sha256",)], "users without their algorithm")
    database.close()


@case
def newer_journal(bench):
    """The header's checksum cannot be made here: what a newer version writes is tested in test_journal. A
    header that only claims to be newer is damage, of more than one bit."""
    bench.fill()
    path = bench.data / "journal-000001.seg"
    content = bytearray(path.read_bytes())
    content[8:12] = struct.pack("<I", 13)
    path.write_bytes(content)
    bench.expect_refusal(f"{path}: damaged at offset 0: the segment's header is not valid")


@case
def missing_definitions(bench):
    bench.fill()
    for path in bench.data.glob("definitions.db*"):
        path.unlink()
    bench.expect_refusal(f"{bench.data}/definitions.db: missing, though the directory holds a journal")


@case
def missing_segment(bench):
    """The middle one of three; then it is put back."""
    bench.fill()
    bench.start()
    link = bench.connect()
    link.call(1, "confirm.select")
    for number in range(1, 41):
        link.send(links.amqp.publish_frames(1, {"exchange": b"", "routing_key": b"q"},
                                            links.amqp.write_properties({"delivery_mode": 2}),
                                            bytes(1000000), link.frame_max))
        if number % 4 == 0:
            while link.next_event(1).fields["delivery_tag"] < number:
                pass
    bench.end(signal.SIGKILL)
    path, aside = bench.data / "journal-000002.seg", bench.data / "aside"
    expect(path.exists() and (bench.data / "journal-000003.seg").exists(), "there are not three segments")
    path.rename(aside)
    bench.expect_refusal(f"{bench.data}: the journal's segment of epoch 2 is missing (the next is "
                         "journal-000003.seg of epoch 3)")
    aside.rename(path)
    newest = bench.data / "journal-000003.seg"
    newest.rename(aside)
    bench.expect_refusal(f"{bench.data}: the journal's segment of epoch 3 is missing (there are older ones)")
    aside.rename(newest)
    bench.expect_service()
    expect(bench.depth() == 60, "messages are missing")


@case
def missing_first_segment(bench):
    """The only one: the definitions know that there was a journal."""
    bench.fill()
    bench.start()
    bench.end()
    for path in bench.data.glob("journal-*"):
        path.unlink()
    bench.expect_refusal(f"{bench.data}: the journal's segment of epoch 1 is missing (there is none)")


@case
def truncated_segment(bench):
    """Bytes that are no header where one must be."""
    bench.fill()
    path = bench.data / "journal-000001.seg"
    with open(path, "r+b") as file:
        file.write(bytes(64))
    bench.expect_refusal(f"{path}: damaged at offset 0: the segment's header is not valid")
    os.truncate(path, 0)  # as if it had been made and never used
    bench.expect_refusal(f"{bench.data}: the journal's segment of epoch 1 is missing (there is none)")


@case
def flipped_bit(bench):
    """In the middle of the journal: file and offset are named, and the offline check says the same."""
    bench.fill()
    path = bench.data / "journal-000001.seg"
    content = bytearray(path.read_bytes())
    content[4096 + 56 + 100] ^= 1
    path.write_bytes(content)
    bench.expect_refusal(f"{path}: damaged at offset ", "is not valid, but a later batch at offset ",
                         sets=["store.quarantine=false"])
    bench.expect_service()
    expect(bench.said(f"{path}: damaged at offset 4152: ") and
           bench.said("it seems to have held a message for queue 'q' in vhost '/'"), "nothing is said of it")
    expect(bench.depth() == 19, f"{bench.depth()} of 19 messages are there")
    bench.end()
    kept = bench.data / "quarantine" / "journal-000001.seg-epoch-1-offset-4152"
    expect(kept.read_bytes() in bytes(content), "the damaged bytes are not kept")
    result = subprocess.run([bench.options.leveret, "store", "check", str(bench.data)], capture_output=True,
                            text=True, check=False)
    expect(result.returncode == 1 and f"{path}: damaged at offset 4152: " in result.stdout, result.stdout)


PAGED = ["queue.resident_messages=4", "queue.page_size=4096"]


def paged(bench):
    """20 messages of which most lie in pages; returns the page file and its rows by sequence."""
    bench.fill(PAGED)
    with sqlite3.connect(bench.data / "definitions.db") as database:
        rows = database.execute("SELECT id, first, count, file, offset, bytes FROM page ORDER BY first")
        rows = rows.fetchall()
    database.close()
    expect(len(rows) >= 2, f"only {len(rows)} pages")
    return bench.data / f"pages-{rows[0][3]:06}.dat", rows


def drain(bench):
    """Takes what is in the queue; the broker reads its pages for that."""
    link = bench.connect()
    got = 0
    while True:
        link.send_method(1, "basic.get", queue=b"q", no_ack=1)
        event = link.next_event(1)
        if event.name == "basic.get-empty":
            break
        got += 1
    link.close()
    return got


@case
def flipped_bit_in_a_page(bench):
    """The page is named, kept aside and left out; all other messages are served."""
    path, rows = paged(bench)
    page, first, count, _, offset, size = rows[0]
    content = bytearray(path.read_bytes())
    content[offset + 64 + 30] ^= 16
    path.write_bytes(content)
    result = subprocess.run([bench.options.leveret, "store", "check", str(bench.data)], capture_output=True,
                            text=True, check=False)
    expect(result.returncode == 1 and f"{path}: damaged at offset {offset}: the page is not valid (page "
           f"{page}, queue 1, sequences {first}-{first + count - 1}" in result.stdout, result.stdout)
    bench.expect_service(PAGED)
    got = drain(bench)
    expect(got == 20 - count, f"{got} messages are there, {count} were in the page")
    expect(bench.said(f"{path}: damaged at offset {offset}: a page of queue id 1, {count} messages with "
                      f"sequences from {first} to {first + count - 1}, is left out; its bytes are kept"),
           "nothing is said of it")
    bench.end()
    kept = bench.data / "quarantine" / f"{path.name}-page-{page}-offset-{offset}"
    expect(kept.read_bytes() == bytes(content[offset:offset + size]), "the damaged bytes are not kept")


@case
def missing_page_file(bench):
    """What is in memory is served; the file may come back at a later start."""
    path, rows = paged(bench)
    aside = bench.data / "aside"
    path.rename(aside)
    bench.expect_service(PAGED)
    got = drain(bench)
    expect(got < 20 - rows[0][2], f"{got} messages are there without their file")
    expect(bench.said(f"{path}: cannot be read at offset 0 (No such file or directory): a page of queue id"),
           "nothing is said of it")
    bench.end()
    aside.rename(path)
    bench.expect_service(PAGED)
    again = drain(bench)
    expect(got + again == 20, f"{got} and then {again} of 20 messages")


@case
def definitions_not_a_database(bench):
    bench.fill()
    path = bench.data / "definitions.db"
    path.write_bytes(b"this is no database" * 1000)
    bench.expect_refusal(f"{path}: file is not a database")


@case
def data_dir_is_a_file(bench):
    bench.data.write_text("a file")
    bench.expect_refusal(f"{bench.data}: not a directory")
    expect(bench.data.read_text() == "a file", "it changed the file")


@case
def data_dir_below_a_file(bench):
    bench.data.write_text("a file")
    bench.expect_refusal("cannot make the directory: Not a directory", data=bench.data / "below")


@case
def data_dir_cannot_be_made(bench):
    parent = pathlib.Path(bench.temporary.name) / "parent"
    parent.mkdir()
    with Unwritable(bench, parent, 0o555) as settings:
        bench.expect_refusal(f"{parent}/data: cannot make the directory: Permission denied",
                             data=parent / "data", **settings)


class Unwritable:
    """A directory or file with this mode; a superuser, who may do all, becomes somebody else for it."""

    def __init__(self, bench, path, mode):
        self.path, self.mode, self.before = path, mode, path.stat().st_mode
        self.root = pathlib.Path(bench.temporary.name)

    def __enter__(self):
        if os.geteuid() == 0:
            self.root.chmod(0o755)
            for path in [self.root, *self.root.rglob("*")]:
                os.chown(path, 65534, 65534)
        self.path.chmod(self.mode)
        return {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}

    def __exit__(self, *_):
        self.path.chmod(self.before)


@case
def read_only_directory(bench):
    """Nothing can be made in it: a new one is refused; one with files that can be written serves, as long as
    it needs no new file, and stops in order."""
    bench.fill()
    with Unwritable(bench, bench.data, 0o555) as settings:
        bench.start(**settings)
        expect(bench.process.poll() is None and bench.depth() == 20, "it does not serve")
        expect(bench.end() == 0, "it does not stop")
    empty = pathlib.Path(bench.temporary.name) / "empty"
    empty.mkdir()
    with Unwritable(bench, empty, 0o555) as settings:
        bench.expect_refusal(f"{empty}/lock: cannot lock it: Permission denied", data=empty, **settings)


@case
def unreadable_files(bench):
    bench.fill()
    for name in "lock", "definitions.db", "journal-000001.seg":
        path = bench.data / name
        with Unwritable(bench, path, 0o000) as settings:
            bench.expect_refusal(str(path), "Permission denied", **settings)
    with Unwritable(bench, bench.data / "lock", 0o644) as settings:
        bench.log.unlink()
        bench.start(**settings)
        expect(bench.process.poll() is None, "it does not start with readable files")
        expect(bench.depth() == 20, "messages are missing")


# Descriptors and the clock.


@case
def out_of_descriptors(bench):
    """With a small limit: who is connected is served, the others wait, and are served when there is room."""
    bench.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)))
    served, waiting = [], []
    for _ in range(40):
        try:
            link = links.Link(("127.0.0.1", bench.port), 1)
            link.start(b"guest", b"guest")
            link.tune()
            link.open()
            link.call(1, "channel.open")
            served.append(link)
        except links.Failure:
            waiting.append(link)
            if len(waiting) == 3:
                break
    expect(len(served) > 10 and len(waiting) == 3, f"{len(served)} served, {len(waiting)} waiting")
    expect(bench.count("not accepting clients for now: Too many open files") == 1,
           "the log does not say so once")
    for link in served:
        link.timeout = WAIT_SECONDS
        link.call(1, "queue.declare", queue=b"q", durable=1)
    for link in waiting:
        link.drop()
    for link in served[:6]:
        link.close()
    for _ in range(3):
        bench.connect().close()
    served[-1].call(1, "queue.declare", queue=b"q", durable=1)
    expect(bench.end() == 0, "it does not stop")


@case
def accept_storm(bench):
    """Thousands of connections that come and go in waves, most without a word."""
    bench.start()
    steady = bench.connect()
    for wave in range(20):
        sockets = [links.Link(("127.0.0.1", bench.port), WAIT_SECONDS) for _ in range(200)]
        for number, link in enumerate(sockets):
            if number % 3 == wave % 3:
                link.send(links.PROTOCOL_HEADER if wave % 2 else b"GET / HTTP/1.1\r\n\r\n")
        steady.call(1, "queue.declare", queue=b"q", durable=1)
        for link in sockets:
            link.drop()
    steady.call(1, "queue.declare", queue=b"q", durable=1)
    bench.connect().close()
    steady.close()
    expect(bench.end() == 0, "it does not stop")


@case
def clock_jumps(bench):
    """The wall clock jumps for years; heartbeats and their absence go by the monotonic one."""
    clock = pathlib.Path(bench.temporary.name) / "clock"
    clock.write_text("0")
    bench.start(env={**os.environ, "LD_PRELOAD": bench.options.library, "FAULTS_CLOCK": str(clock)})
    link = bench.connect(heartbeat=1)
    began = time.monotonic()
    for jump in (100000000, -100000000, 3600, -3600, 0):
        clock.write_text(str(jump))
        before = link.heartbeats
        while link.heartbeats == before:
            expect(link.receive(time.monotonic() + WAIT_SECONDS), "the connection was closed")
            link.cut_frames()
        link.send(b"\x08\0\0\0\0\0\0\xce")
        link.call(1, "queue.declare", queue=b"q", durable=1)
        bench.connect().close()
    expect(time.monotonic() - began >= 2, "heartbeats came too fast")
    years = {int(line[:4]) for line in bench.log.read_text().splitlines()}
    expect(max(years) - min(years) >= 6, f"the log's years are {years}: the clock has not jumped")
    link.close()
    expect(bench.end() == 0, "it does not stop")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--leveret", required=True, metavar="PATH")
    parser.add_argument("--library", required=True, metavar="PATH", help="powerloss.so")
    parser.add_argument("cases", nargs="*")
    options = parser.parse_args()
    options.leveret = str(pathlib.Path(options.leveret).resolve())
    options.library = str(pathlib.Path(options.library).resolve())
    failed = 0
    chosen = [function for function in CASES if not options.cases or function.__name__ in options.cases]
    for number, function in enumerate(chosen, 1):
        bench, problem, began = Bench(options), "", time.monotonic()
        try:
            function(bench)
        except (Wrong, links.Failure, subprocess.TimeoutExpired, OSError) as error:
            problem = f" {type(error).__name__}: {error}"
            failed += 1
        finally:
            bench.close()
        print("not ok" if problem else "ok", number, "-", function.__name__ + problem,
              f"({time.monotonic() - began:.1f} s)", flush=True)
    print(f"start: {len(chosen) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
