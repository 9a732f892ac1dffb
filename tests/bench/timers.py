"""timers - what tests/bench/delays and tests/bench/expiries share: a broker of their own, its memory and disk
while it works, and bench_timers, which publishes and takes messages that have a time."""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import brokers  # noqa: E402
import idempotent  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MB = 1000000


def parser(description, messages, spread):
    parser = argparse.ArgumentParser(description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("leveret", nargs="?", default=os.path.join(ROOT, "build", "leveret"),
                        help="the server to measure (default: build/leveret)")
    parser.add_argument("--client", help="bench_timers (default: tests/bench beside the server)")
    parser.add_argument("--messages", type=float, default=messages, help=f"default {messages}")
    parser.add_argument("--bytes", type=int, default=100, help="of a body (default 100)")
    parser.add_argument("--spread", type=float, default=spread,
                        help=f"seconds over which they are due, default {spread}")
    parser.add_argument("--full", action="store_true", help="ten million over 200 s")
    parser.add_argument("--rate", type=int, default=0,
                        help="messages a second that are published (default: all it takes)")
    parser.add_argument("--lead", type=float, help="seconds from the first publish to the first due one")
    parser.add_argument("--transient", action="store_true",
                        help="they arrive in a queue that is not durable: no sync")
    parser.add_argument("--slow-disk", metavar="SYNC_MS:MB_S:READ_MS",
                        help="as if the disk was: see tests/faults/slowdisk.c")
    parser.add_argument("--folder", help="where the data goes while it runs (default: the system's)")
    return parser


def arguments(parser):
    options = parser.parse_args()
    if options.full:
        options.messages, options.spread = 1e7, 200
    options.messages = int(options.messages)
    options.client = options.client or os.path.join(os.path.dirname(os.path.abspath(options.leveret)),
                                                    "tests", "bench", "bench_timers")
    return options


def processors():
    """Ticks of all processors: idle, taken by the host for others, and in all."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return ticks[3] + ticks[4], ticks[7], sum(ticks)


class Sampler(threading.Thread):
    """The most memory the broker has, and the most disk; and how busy the machine was when."""

    def __init__(self, broker):
        super().__init__(daemon=True)
        self.broker, self.rss, self.disk, self.ends = broker, 0, 0, False
        self.machine = [(time.time(), *processors())]
        self.start()

    def state(self, at, spread=0.2):
        """Per cent of the processors' time that was idle, and that the host took, around that moment."""
        near = [one for one in self.machine if at - spread - 0.1 <= one[0] <= at + spread + 0.2]
        if len(near) < 2 or near[-1][3] == near[0][3]:
            return "unknown"
        idle, stolen, all_ = (near[-1][i] - near[0][i] for i in (1, 2, 3))
        return f"idle {100 * idle / all_:.0f} %, stolen {100 * stolen / all_:.0f} %"

    def run(self):
        for i in range(1 << 40):
            if self.ends:
                return
            try:
                self.rss = max(self.rss, brokers.rss_bytes(self.broker.pid))
            except (OSError, TypeError):
                pass
            self.machine.append((time.time(), *processors()))
            if i % 20 == 0:
                self.disk = max(self.disk, self.broker.disk_bytes())
            time.sleep(0.1)

    def reset(self):
        self.disk = max(self.disk, self.broker.disk_bytes())
        said = f"most memory {self.rss / MB:.1f} MB, most disk {self.disk / MB:.0f} MB"
        self.rss = self.disk = 0
        return said


class SlowDisk(brokers.Leveret):
    """A broker whose disk takes its time."""

    def __init__(self, folder, path, said):
        super().__init__(folder, path)
        self.said = said

    def environment(self):
        library = os.path.join(os.path.dirname(self.path), "tests", "faults", "libslowdisk.so")
        return {**os.environ, "LD_PRELOAD": library, "SLOWDISK": self.said}


class Bench:
    def __init__(self, options, folder):
        self.options = options
        self.broker = SlowDisk(folder, options.leveret, options.slow_disk) if options.slow_disk else \
            brokers.Leveret(folder, options.leveret)
        self.broker.start()
        self.sampler = Sampler(self.broker)
        self.children = []

    def client(self):
        return idempotent.Client(self.broker.port)

    def begin(self, *words):
        child = subprocess.Popen([self.options.client, *map(str, words)], stdout=subprocess.PIPE, text=True)
        self.children.append(child)
        return child

    @staticmethod
    def result(child):
        out, _ = child.communicate()
        if child.returncode != 0:
            raise SystemExit("bench_timers failed")
        return json.loads(out)

    def publish(self, exchange, key, kind, count, rate, first, from_ms, to_ms):
        return self.begin("publish", self.broker.port, exchange or "", key, kind, count, self.options.bytes,
                          rate, first, int(from_ms), int(to_ms))

    def consume(self, queue, count, idle_s, from_ms=0):
        return self.begin("consume", self.broker.port, queue, count, idle_s, int(from_ms))

    def control(self, *words):
        tool = os.path.join(os.path.dirname(self.broker.path), "leveretctl")
        done = subprocess.run([tool, "--data-dir", self.broker.data_path(), *words],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"leveretctl {' '.join(words)}: {done.stderr}")
        return done.stdout

    def end(self):
        self.sampler.ends = True
        for child in self.children:
            if child.poll() is None:
                child.kill()
                child.wait()
        self.broker.stop()


def say(what, text):
    print(f"{what}: {text}", flush=True)


def published(done, sampler):
    took = done["confirm_ms"]
    say("published", f"{done['published']} in {done['seconds']} s, {done['rate']:.0f}/s, "
                     f"{done['refused']} refused; {sampler.reset()}")
    say("  confirms took", f"p50 {took['p50']:.1f}, p99 {took['p99']:.1f}, max {took['max']:.1f} ms")


def say_lateness(what, result, sampler):
    def line(one):
        return (f"p50 {one['p50']:.1f}, p99 {one['p99']:.1f}, p99.9 {one['p999']:.1f}, "
                f"max {one['max']:.1f} ms, {one['over_100_ms']} over 100 ms (of {one['count']})")
    say(what, f"{result['delivered']} delivered, {result['missing']} missing, {result['twice']} twice, "
              f"{result['early']} early")
    say("  late", line(result["late_ms"]))
    say("  a timer of the client's meanwhile", line(result["timer_ms"]))
    for one in result["moments"]:
        say(f"  {time.strftime('%H:%M:%S', time.gmtime(one['at']))}.{int(one['at'] * 10) % 10}",
            f"max {one['max']:.1f} ms, {one['over_100_ms']} of {one['count']} over 100 ms; the machine then: "
            f"{sampler.state(one['at'])}")


def run(work, options):
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        bench = Bench(options, os.path.join(folder, "broker"))
        try:
            work(bench)
        finally:
            bench.end()
