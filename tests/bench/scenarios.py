"""scenarios - what compare runs, what it reads from the results, and what Leveret is meant to reach."""
from dataclasses import dataclass, field
from typing import Callable, List, Optional


def show_count(value):
    return "" if value is None else f"{value:,.0f}/s"


def show_time(value):
    return "" if value is None else f"{value / 1000:.2f} ms"


def show_bytes(value):
    return "" if value is None else f"{value / 1000:,.1f} KB"


def show_megabytes(value):
    return "" if value is None else f"{value / 1e6:.1f} MB"


def show_ms(value):
    return "" if value is None else f"{value:,.0f} ms"


def show_ratio(value):
    return "" if value is None else f"{value:.2f}"


def cpu_per_million(result):
    return result.get("broker_cpu_seconds_per_million")


def received(result):
    return result.get("received_per_second")


def received_to_sent(result):
    sent = result.get("sent_per_second")
    return result["received_per_second"] / sent if sent else None


def percentile(histogram, name):
    return lambda result: result.get(histogram, {}).get(name)


@dataclass
class Metric:
    name: str
    read: Callable
    show: Callable = show_count
    wish: str = ""
    target: Optional[Callable] = None  # (ours, theirs, reached) -> bool, or None when it cannot be told


@dataclass
class Scenario:
    name: str
    arguments: List[str]
    metrics: List[Metric]
    mode: List[str] = field(default_factory=list)
    timed: bool = True
    fresh: bool = False   # a newly started broker for each run
    repeat: int = 0       # 0 = as the user wants
    stretch: float = 1    # of the measured interval
    tls: bool = False


def at_least(limit):
    return lambda ours, theirs, reached: ours >= limit


def at_most(limit):
    return lambda ours, theirs, reached: ours <= limit


def times_theirs(factor):
    return lambda ours, theirs, reached: ours >= factor * theirs if theirs else None


def cpu(limit):
    return Metric("CPU s/M", cpu_per_million, show_ratio, f"<= {limit:g}", at_most(limit))


def no_slower_than(name):
    key = (name, "rate")
    return lambda ours, theirs, reached: ours >= reached[key] if key in reached else None


ONE = "16 B transient auto-ack 1/1"
FOUR = ["-x", "4", "-y", "4", "-q", "4"]
ACK_100 = ["-Q", "1000", "-A", "100"]
ACK_EACH = ["-Q", "1000", "-A", "1"]
SAFE = ["-s", "1000", "-p", "--durable", "-c", "1000", *ACK_100]
WINDOW_1 = ["-s", "1000", "-p", "--durable", "-c", "1", *ACK_100]
TOPIC = ["-t", "topic", "--bindings", "10000"]
FLOW = Metric("received / sent", received_to_sent, show_ratio, "0.9 to 1.1", lambda o, t, r: 0.9 <= o <= 1.1)
CONFIRM_P99 = Metric("p99 confirm", percentile("confirm_us", "p99"), show_time, "<= 10 ms", at_most(10000))


def rate(wish="", target=None):
    return Metric("rate", received, show_count, wish, target)


ALL = [
    Scenario("empty broker", [], [
        Metric("ready after", lambda r: r.get("ready_ms"), show_ms, "<= 50 ms", at_most(50)),
        Metric("memory", lambda r: r.get("rss_bytes"), show_megabytes, "<= 15 MB", at_most(15e6)),
    ], mode=["start"], timed=False, fresh=True),
    Scenario("1,000 idle connections with a channel", ["-n", "1000", "-z", "2"], [
        Metric("opened", lambda r: r.get("opened_per_second")),
        Metric("memory each", lambda r: r.get("bytes_per_connection"), show_bytes, "<= 8 KB", at_most(8192)),
    ], mode=["idle"], timed=False, fresh=True, repeat=1),
    Scenario("10,000 durable queues, pipelined", ["-q", "10000", "--durable"], [
        Metric("declared", lambda r: r.get("declared_per_second"), show_count, ">= 10 k/s", at_least(1e4)),
        Metric("memory each", lambda r: r.get("bytes_per_queue"), show_bytes, "<= 4 KB", at_most(4096)),
    ], mode=["queues"], timed=False, fresh=True, repeat=1),
    Scenario(ONE, [], [rate(">= 4 M/s", at_least(4e6)), cpu(0.25)]),
    Scenario("16 B transient auto-ack 4/4 on 4 queues", FOUR,
             [rate("no slower than 1/1", no_slower_than(ONE))]),
    Scenario("1 KB transient auto-ack 1/1", ["-s", "1000"], [rate(">= 1.2 M/s", at_least(1.2e6)), cpu(0.9)]),
    Scenario("1 KB transient auto-ack 4/4", ["-s", "1000", *FOUR], [rate()]),
    Scenario("100 KB transient auto-ack 1/1", ["-s", "100000"],
             [rate(">= 1.2 x RabbitMQ", times_theirs(1.2))]),
    Scenario("100 KB transient auto-ack 4/4", ["-s", "100000", *FOUR],
             [rate(">= 1.2 x RabbitMQ", times_theirs(1.2))]),
    Scenario("16 B, prefetch 1000, ack every 100, 1/1", ACK_100, [rate(">= 2.5 M/s", at_least(2.5e6)), FLOW]),
    Scenario("16 B, prefetch 1000, ack every 100, 4/4", [*ACK_100, *FOUR], [rate(), FLOW]),
    Scenario("16 B, prefetch 1000, ack each, 1/1", ACK_EACH, [rate(">= 1 M/s", at_least(1e6)), FLOW]),
    Scenario("16 B, prefetch 1000, ack each, 4/4", [*ACK_EACH, *FOUR], [rate(), FLOW]),
    Scenario("1 KB persistent, confirm window 1000, 1/1", SAFE,
             [rate(">= 400 k/s", at_least(4e5)), cpu(2.5), CONFIRM_P99]),
    Scenario("1 KB persistent, confirm window 1000, 4/4", [*SAFE, *FOUR], [rate(), CONFIRM_P99]),
    Scenario("1 KB persistent, confirm window 1, 1/1", WINDOW_1, [rate("> RabbitMQ", times_theirs(1))]),
    Scenario("1 KB persistent, confirm window 1, 4/4", [*WINDOW_1, *FOUR],
             [rate("> RabbitMQ", times_theirs(1))]),
    Scenario("topic, 10,000 wildcard bindings, 1/1", TOPIC, [rate(">= 1 M/s", at_least(1e6))]),
    Scenario("topic, 10,000 wildcard bindings, 4/4", [*TOPIC, *FOUR], [rate()]),
    Scenario("fanout 1 to 10 queues, deliveries", ["--fanout", "10"], [rate(">= 4 M/s", at_least(4e6))]),
    Scenario("10 k/s persistent, confirmed", ["-r", "10000", "-p", "--durable", "-c", "1000"], [
        Metric("p99 latency", percentile("latency_us", "p99"), show_time, "<= 3 ms", at_most(3000)),
        Metric("p99 confirm", percentile("confirm_us", "p99"), show_time, "<= 3 ms", at_most(3000)),
    ], mode=["latency"]),
    Scenario("TLS, 1 KB transient auto-ack 1/1", ["-s", "1000"], [rate(">= 5 x RabbitMQ", times_theirs(5))],
             tls=True),
    Scenario("TLS, 1 KB transient auto-ack 4/4", ["-s", "1000", *FOUR],
             [rate(">= 5 x RabbitMQ", times_theirs(5))], tls=True),
    Scenario("TLS, 16 KB transient auto-ack 1/1", ["-s", "16384"], [rate()], tls=True),
    Scenario("TLS, 16 KB transient auto-ack 4/4", ["-s", "16384", *FOUR], [rate()], tls=True),
    Scenario("sustained 16 B auto-ack 1/1", [], [rate(), FLOW], stretch=5, repeat=1),
]
