#!/usr/bin/env python3
"""strangers.py - floods and patterns that are meant to hurt:
strangers.py --leveret PATH --ctl PATH [scenario...]

Each scenario has a broker of its own. Somebody who is let in is served meanwhile, and the log says what
happened without growing with it.
"""
import argparse
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "control"), str(HERE.parent / "wire")]
from broker import free_port  # noqa: E402
from ctl import Ctl, Leveret  # noqa: E402
import certificates  # noqa: E402
from link import Link  # noqa: E402

TIMEOUT = 60
STRANGERS = 2500
BURST, SLACK = 1000, 300  # lines of an address at once; and what is added in the time that a test takes
CATASTROPHIC = "^(a+)+$"
LONG = b"a" * 60 + b"!"


def check(true, what):
    if not true:
        raise AssertionError(what)


def connect(broker, user=b"guest", password=b"guest", vhost=b"/"):
    link = Link(broker.address, TIMEOUT)
    link.start(user, password)
    link.tune()
    link.open(vhost)
    link.call(1, "channel.open")
    return link


def log_of(broker):
    return (broker.directory / "log").read_text(errors="replace")


def left_out(log, whose="connections from 127.0.0.1"):
    counts = re.findall(rf"(\d+) more lines about {whose} were", log)
    return sum(int(count) for count in counts)


def talk_nonsense(address, count, data):
    for _ in range(count):
        with socket.create_connection(address, TIMEOUT) as plain:
            plain.sendall(data)
            try:
                while plain.recv(4096):
                    pass
            except ConnectionResetError:
                pass


def served(link):
    link.call(1, "queue.declare", queue=b"served", exclusive=1)
    link.call(1, "queue.delete", queue=b"served")


def flood_of_the_log(broker, _):
    """Every line is written or counted, and only so many are written."""
    link = connect(broker)
    talk_nonsense(broker.address, STRANGERS, b"GET / HTTP/1.1\r\n\r\n")
    served(link)
    link.close()
    log = end(broker)
    lines = log.count("accepting AMQP connection (") + log.count("bad header, it looks like")
    check(lines <= BURST + SLACK, f"{lines} lines")
    other = log.count("closing AMQP connection (") - log.count("bad header, it looks like")
    check(lines + left_out(log) + other >= 2 * STRANGERS, f"{lines} lines and {left_out(log)} left out")


def flood_of_handshakes(broker, _):
    """The same for a port with TLS."""
    talk_nonsense(broker.address, STRANGERS, b"AMQP\0\0\x09\x01")
    log = end(broker)
    lines = log.count("refusing connection (")
    check(100 < lines <= BURST + SLACK, f"{lines} lines")
    check("a plain AMQP client: this listener is a TLS one" in log, "the log does not say why")
    check(lines + left_out(log) >= STRANGERS, f"{lines} lines and {left_out(log)} left out")


def channel_errors(broker, _):
    """Who is let in does not fill the disk either."""
    link = connect(broker)
    for _ in range(STRANGERS):
        link.send_method(1, "queue.declare", queue=b"none", passive=1)
        check(link.next_event(1).name == "channel.close", "no close")
        link.send_method(1, "channel.close-ok")
        link.call(1, "channel.open")
    link.close()
    log = end(broker)
    lines = log.count("no queue 'none'")
    check(100 < lines <= BURST + SLACK, f"{lines} lines")
    check(lines + left_out(log) >= STRANGERS, f"{lines} lines and {left_out(log)} left out")


def what_users_declare(broker, ctl):
    """Nor what the server says of their queues, at once or later."""
    link = connect(broker)
    for i in range(STRANGERS):
        arguments = [(b"x-queue-mode", "S", b"lazy"), (b"x-expires", "I", 1)]
        link.call(1, "queue.declare", queue=b"q%d" % i, arguments=arguments)
    while ctl.rows("list_queues", "name"):
        pass
    link.close()
    log = end(broker)
    for text, counted in (("'x-queue-mode' is kept, but", left_out(log)),
                          ("was not used for 1 ms and is deleted", left_out(log, "queues"))):
        lines = log.count(text)
        check(100 < lines <= BURST + SLACK, f"{lines} lines: {text}")
        check(lines + counted >= STRANGERS, f"{lines} lines and {counted} left out: {text}")


def end(broker):
    """The broker's log when it has ended."""
    broker.process.terminate()
    check(broker.process.wait(TIMEOUT) == 0, "it did not end well")
    broker.process = None
    return log_of(broker)


# --- patterns ---

def refused(link, method, **fields):
    link.send_method(1, method, **fields)
    event = link.next_event(1)
    check(event.name == "channel.close" and event.fields["reply_code"] == 403, f"{method}: {event}")
    link.send_method(1, "channel.close-ok")
    link.call(1, "channel.open")


def patterns_of_permissions(broker, ctl):
    """A match that is given up refuses, and the log says so; what matches is allowed."""
    ctl.run("add_user", "eve", "eve")
    ctl.run("set_permissions", "eve", CATASTROPHIC, CATASTROPHIC, CATASTROPHIC)
    eve, other = connect(broker, b"eve", b"eve"), connect(broker)
    eve.call(1, "queue.declare", queue=b"aaa", exclusive=1)
    for _ in range(20):
        refused(eve, "queue.declare", queue=LONG)
        refused(eve, "queue.declare", queue=LONG, passive=1)
        refused(eve, "basic.consume", queue=LONG)
        served(other)
    said = f"permission of user 'eve' in vhost '/': the match with '{LONG.decode()}' was given up"
    check(said in log_of(broker), "the log says nothing")
    ctl.run("set_permissions", "eve", ".*", ".*", ".*")
    ctl.run("set_topic_permissions", "eve", "amq.topic", CATASTROPHIC, CATASTROPHIC)
    eve.call(1, "queue.bind", queue=b"aaa", exchange=b"amq.topic", routing_key=b"aaaa")
    refused(eve, "queue.bind", queue=b"aaa", exchange=b"amq.topic", routing_key=LONG)
    check(f"topic {said}" in log_of(broker), "the log says nothing")
    served(other)
    eve.close()
    other.close()


def policy_of(ctl, name):
    rows = ctl.rows("list_queues", "name", "policy", "operator_policy")
    return [(row["policy"], row["operator_policy"]) for row in rows if row["name"] == name][0]


def patterns_of_policies(broker, ctl):
    """Policies and operator policies do not govern names that cannot be matched in time, but others."""
    link, other = connect(broker), connect(broker)
    for i in range(200):
        link.send_method(1, "queue.declare", queue=LONG + b"%d" % i, no_wait=1)
    link.call(1, "queue.declare", queue=b"aaaa")
    ctl.run("set_policy", "p", CATASTROPHIC, '{"max-length": 1}')
    ctl.run("set_operator_policy", "o", CATASTROPHIC, '{"max-length": 1}')
    served(other)
    check(policy_of(ctl, "aaaa") == ("p", "o"), f"{policy_of(ctl, 'aaaa')}")
    check(policy_of(ctl, LONG.decode() + "7") == ("", ""), "it is governed")
    link.call(1, "queue.declare", queue=LONG)
    for kind in "policy 'p'", "operator policy 'o'":
        said = log_of(broker).count(f"{kind} in vhost '/' does not govern '{LONG.decode()}")
        check(said == 1, f"that is said {said} times")
    for i in range(30):
        ctl.run("set_policy", f"p{i}", CATASTROPHIC, '{"max-length": 1}')
    link.call(1, "queue.declare", queue=LONG + b"last")
    served(other)
    link.close()
    other.close()


def patterns_from_a_file(broker, ctl):
    """The same by definitions; and a pattern that is none is refused."""
    pattern = {"configure": CATASTROPHIC, "write": ".*", "read": ".*"}
    ctl.run("import_definitions", "-", text=json.dumps({
        "users": [{"name": "eve", "password": "eve", "tags": []}],
        "permissions": [{"user": "eve", "vhost": "/", **pattern}],
        "topic_permissions": [{"user": "eve", "vhost": "/", "exchange": "amq.topic", "write": CATASTROPHIC,
                               "read": CATASTROPHIC}],
        "policies": [{"name": "p", "vhost": "/", "pattern": CATASTROPHIC, "definition": {"max-length": 1}}],
        "queues": [{"name": LONG.decode(), "vhost": "/"}]}))
    eve, other = connect(broker, b"eve", b"eve"), connect(broker)
    refused(eve, "queue.declare", queue=LONG)
    served(other)
    check(policy_of(ctl, LONG.decode()) == ("", ""), "it is governed")
    ctl.run("import_definitions", "-", status=69, text=json.dumps(
        {"policies": [{"name": "p", "vhost": "/", "pattern": "(", "definition": {"max-length": 1}}]}))
    eve.close()
    other.close()


# --- what is declared, by an administrator ---

def imports_are_bounded(broker, ctl):
    """A file of definitions has the room of topology_memory, too, and what it finds stays."""
    for kind, row in [("queue", {"name": "NAME"}), ("exchange", {"name": "NAME", "type": "topic"}),
                      ("binding", {"source": "amq.topic", "destination": "mine", "destination_type": "queue",
                                   "routing_key": "NAME"})]:
        ctl.run("add_vhost", kind)
        mine = {"queues": [{"name": "mine", "vhost": kind}]}
        ctl.run("import_definitions", "-", text=json.dumps(mine))
        rows = [json.dumps({**row, "vhost": kind}).replace("NAME", f"{i}-" + "x" * 200) for i in range(1500)]
        text = f'{{"{kind}s": [{", ".join(rows)}]}}'
        ctl.run("import_definitions", "-", text=text, status=69)
        check(f"no room for another {kind}" in ctl.error and "topology_memory" in ctl.error, ctl.error)
        check("mine" in ctl.quiet("list_queues", "-p", kind, "name"), "what there was is gone")
        ctl.run("delete_vhost", kind)
    link = connect(broker)
    served(link)
    link.close()


def vhost_with_many_queues(broker, ctl):
    """It is deleted in slices: others are served between them, its name is free when all of it is gone."""
    ctl.run("add_vhost", "many")
    ctl.run("set_permissions", "-p", "many", "guest", ".*", ".*", ".*")
    link, other = connect(broker, vhost=b"many"), connect(broker)
    link.call(1, "exchange.declare", exchange=b"x", durable=1, auto_delete=1, type=b"fanout")
    for i in range(20000):
        link.send_method(1, "queue.declare", queue=b"%d" % i, durable=i % 2, no_wait=1)
        if i % 10 == 0:
            link.send_method(1, "queue.bind", queue=b"%d" % i, exchange=b"x", no_wait=1)
    link.call(1, "queue.declare", queue=b"last")
    deleting = threading.Thread(target=ctl.run, args=("delete_vhost", "many"))
    deleting.start()
    times = 0
    while deleting.is_alive():
        served(other)
        times += 1
    deleting.join()
    event = link.next_event_or_close()
    check(event.name == "connection.close" and event.fields["reply_code"] == 320, f"{event}")
    check(times > 1, "nobody was served meanwhile")
    check([row["name"] for row in ctl.rows("list_vhosts")] == ["/"], "it is still there")
    ctl.run("add_vhost", "many")
    check(ctl.rows("list_queues", "-p", "many", "name") == [], "its queues are back")
    check(len(ctl.rows("list_exchanges", "-p", "many", "name")) == 7, "its exchanges are back")
    broker.restart("kill")
    check(ctl.rows("list_queues", "-p", "many", "name") == [], "its queues are back after a restart")


def inside(leveret):
    """In a network of its own, where this machine has an address that is no loopback one: who comes from it
    is not "from this machine", though the listener is on it."""
    broker = Leveret(leveret, ["proxy_protocol=false"])
    elsewhere = ("192.0.2.7", free_port())
    broker.settings.append(f"listeners.tcp.2={elsewhere[0]}:{elsewhere[1]}")
    broker.start()
    try:
        connect(broker).close()
        link = Link(elsewhere, TIMEOUT)
        link.start(b"guest", b"guest")
        event = link.next_event(0)
        check(event.fields.get("reply_code") == 403, f"guest from elsewhere got {event}")
        check("this user can only connect from localhost" in log_of(broker), "the log does not say why")
    finally:
        broker.stop()


def guest_from_elsewhere(broker, _):
    """A network of its own is something that the kernel gives, or not."""
    setup = "ip link set lo up && ip address add 192.0.2.7/32 dev lo && "
    alone = ["unshare", "-rn", "sh", "-c"]
    if not shutil.which("ip") or subprocess.run([*alone, setup + "true"], capture_output=True,
                                                check=False).returncode:
        print("    left out: no network of its own can be had here (unshare, ip)")
        return
    done = subprocess.run([*alone, setup + 'exec "$@"', "sh", sys.executable, __file__, "--leveret",
                           broker.path, "--ctl", "none", "--inside"],
                          capture_output=True, text=True, timeout=TIMEOUT, check=False)
    check(done.returncode == 0, done.stdout + done.stderr)


SCENARIOS = {
    "guest_from_elsewhere": (guest_from_elsewhere, []),
    "flood_of_the_log": (flood_of_the_log, []),
    "flood_of_handshakes": (flood_of_handshakes, ["tls"]),
    "channel_errors": (channel_errors, []),
    "what_users_declare": (what_users_declare, []),
    "patterns_of_permissions": (patterns_of_permissions, []),
    "patterns_of_policies": (patterns_of_policies, []),
    "patterns_from_a_file": (patterns_from_a_file, []),
    "imports_are_bounded": (imports_are_bounded, ["topology_memory=1MB"]),
    "vhost_with_many_queues": (vhost_with_many_queues, []),
}


def run(name, options):
    scenario, settings = SCENARIOS[name]
    broker = Leveret(options.leveret, [setting for setting in settings if setting != "tls"])
    with tempfile.TemporaryDirectory(prefix="leveret-strangers-") as folder:
        if "tls" in settings:
            certificates.make(folder)
            broker.certificates = folder
        try:
            broker.start()
            scenario(broker, Ctl(options.ctl, broker))
            broker.stop()
        except Exception:  # pylint: disable=broad-except
            print(f"FAIL {name}")
            traceback.print_exc(file=sys.stdout)
            print(broker.log_tail()[-3000:] if (broker.directory / "log").exists() else "", flush=True)
            broker.discard()
            return False
    print(f"ok {name}", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description="Floods and patterns that are meant to hurt.")
    parser.add_argument("--leveret", metavar="PATH", required=True)
    parser.add_argument("--ctl", metavar="PATH", required=True)
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS], help="without any, all of them")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        inside(options.leveret)
        return 0
    results = [run(name, options) for name in options.scenarios or SCENARIOS]
    print(f"strangers: {results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
