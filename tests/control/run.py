#!/usr/bin/env python3
"""run.py - leveretctl and the control socket against a running broker: run.py --leveret PATH --ctl PATH"""
import argparse
import json
import os
import pathlib
import socket
import stat
import subprocess
import sys
import threading
import time
import traceback

import pika
from pika.exceptions import (ChannelClosedByBroker, ConnectionClosedByBroker, NackError,
                             ProbableAccessDeniedError)

from ctl import Ctl, Leveret, Line

HERE = pathlib.Path(__file__).resolve().parent
EXPORTED = HERE / "rabbitmq-3.10.8.json"
EXPORTED_ALL = HERE / "rabbitmq-3.10.8-all.json"  # by topology.py

parser = argparse.ArgumentParser()
parser.add_argument("--leveret", required=True)
parser.add_argument("--ctl", required=True)
parser.add_argument("names", nargs="*", help="of the checks to run")
options = parser.parse_args()

broker = Leveret(options.leveret)
ctl = Ctl(options.ctl, broker)


def equal(actual, expected):
    if actual != expected:
        raise AssertionError(f"expected {expected!r}, got {actual!r}")


def holds(what, text="that does not hold"):
    if not what:
        raise AssertionError(text)


def connect(user="guest", password="guest", vhost="/", properties=None, at=None):
    parameters = pika.ConnectionParameters(*(at or broker).address, vhost, pika.PlainCredentials(user,
            password),
                                           client_properties=properties)
    return pika.BlockingConnection(parameters)


def eventually(what):
    """What another thread of the broker's clients brings about."""
    deadline = time.monotonic() + 20
    while not what():
        if time.monotonic() > deadline:
            raise AssertionError("that has not come to be")
        time.sleep(0.01)


def closed_with(connection):
    """(code, text) of the close that the broker sent, or is about to."""
    try:
        while True:
            connection.process_data_events(time_limit=10)
    except ConnectionClosedByBroker as closed:
        return closed.reply_code, closed.reply_text


# --- the socket ---

def socket_is_its_owners_alone():
    equal(stat.S_IMODE(os.stat(ctl.socket).st_mode), 0o600)


def socket_mode_does_not_follow_the_umask():
    before = os.umask(0)
    other = Leveret(options.leveret)
    try:
        other.start()
        equal(stat.S_IMODE(os.stat(other.directory / "data" / "leveret.sock").st_mode), 0o600)
    finally:
        os.umask(before)
        other.stop()
    holds(not other.directory.exists())


def socket_of_a_killed_server_is_replaced():
    other = Leveret(options.leveret)
    other.start()
    other.restart("kill")
    equal(Ctl(options.ctl, other).quiet("ping"), "Ping succeeded\n")
    other.stop()


def socket_elsewhere_or_nowhere():
    other = Leveret(options.leveret)
    place = other.directory / "control"
    other.settings = [f"control.socket={place}"]
    other.start()
    holds(not (other.directory / "data" / "leveret.sock").exists())
    done = subprocess.run([options.ctl, "ping"], env={"LEVERET_SOCKET": str(place)}, stdout=subprocess.PIPE,
                          check=True)
    holds(b"Ping succeeded" in done.stdout)
    other.stop()
    other = Leveret(options.leveret, ["control.socket=none"])
    other.start()
    Ctl(options.ctl, other).fails(69, "no server answers", "ping")
    other.stop()


def a_file_in_the_way_stops_the_start():
    other = Leveret(options.leveret)
    place = other.directory / "control"
    place.write_text("precious")
    other.settings = [f"control.socket={place}"]
    done = subprocess.run([other.path, "--data-dir", str(other.directory / "data"), "--set",
                           f"control.socket={place}", "--set", "listeners.tcp.1=127.0.0.1:0"],
                          stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    equal(done.returncode, 1)
    holds("control.socket" in done.stdout, done.stdout)
    equal(place.read_text(), "precious")
    other.temporary.cleanup()


def lines_that_are_no_requests():
    line = Line(ctl.socket)
    for bad in (b"hello\n", b"[]\n", b"{}\n", b'{"verb":1}\n', b'{"verb":"nonsense"}\n',
            b'{"verb":"ping","x":1}\n',
                b'{"verb":"add_user"}\n', b'{"verb":"add_user","name":5}\n',
                b'{"verb":"ping","verb":"ping"}\n',
                b"[" * 400000 + b"\n", b'{"verb":' * 60000 + b"\n", b"\0" * 1000 + b"\n",
                b'{"verb":"list_queues","columns":[1]}\n', b"\xff\xfe\n", b'{"verb":"set_policy"}\n'):
        _, end = line.ask(bad)
        equal(end["error"], "malformed")
        holds(end["reason"])
    equal(line.ask({"verb": "ping"})[1]["ok"], True)
    line.close()


def lines_in_pieces_and_many_at_once():
    line = Line(ctl.socket)
    for byte in b'{"verb":"ping"}\n':
        line.send(bytes([byte]))
    equal(line.answer()[1]["ok"], True)
    line.send(b'\n\n{"verb":"list_users"}\n{"verb":"nonsense"}\n{"verb":"ping"}\n')
    equal([row["user"] for row in line.answer()[0]], ["guest"])
    equal(line.answer()[1]["error"], "malformed")
    equal(line.answer()[1]["ok"], True)
    line.close()


def who_closes_its_end_is_answered():
    """As do socat and nc: all of a long answer comes, and that to the line behind."""
    ctl.run("add_vhost", "w")
    queues = [{"name": f"w.{i}" + "x" * 200, "vhost": "w", "durable": False} for i in range(10000)]
    ctl.run("import_definitions", "-", text=json.dumps({"queues": queues}))
    line = Line(ctl.socket)
    line.send(b'{"verb":"list_queues","vhost":"w","columns":["name","arguments"]}\n{"verb":"ping"}\n')
    line.socket.shutdown(socket.SHUT_WR)
    rows, end = line.answer()
    equal((len(rows), end["ok"]), (10000, True))
    holds("node" in line.answer()[1]["result"])
    equal(line.answer(), None)
    line.close()
    ctl.run("delete_vhost", "w")


def line_without_end_is_refused():
    line = Line(ctl.socket)
    try:
        line.send(b"x" * 600000)
    except OSError:
        pass  # it has hung up already
    equal(line.answer()[1]["error"], "malformed")
    equal(line.answer(), None)
    line.close()
    ctl.run("ping")


def too_many_clients_are_turned_away():
    lines = [Line(ctl.socket) for _ in range(16)]
    for line in lines:
        equal(line.ask({"verb": "ping"})[1]["ok"], True)
    more = Line(ctl.socket)
    equal(more.answer(), None)
    more.close()
    for line in lines:
        line.close()
    eventually(lambda: subprocess.run([options.ctl, "--socket", ctl.socket, "ping"], check=False,
                                      capture_output=True).returncode == 0)


# --- the command line ---

def usage():
    ctl.fails(64, "not found", "nonsense")
    ctl.fails(64, "no verb")
    ctl.fails(64, "not enough", "delete_user")
    ctl.fails(64, "too many", "delete_user", "a", "b")
    ctl.fails(64, "unknown option", "--nonsense", "list_users")
    ctl.fails(64, "not supported", "list_queues", "nonsense")
    ctl.fails(64, "no option -p", "list_users", "-p", "/")
    ctl.fails(64, "no such option", "list_users", "--priority", "5")
    ctl.fails(64, "value is wrong", "list_users", "--formatter", "nonsense")
    holds("list_queues" in ctl.run("--help"))
    done = subprocess.run([options.ctl, "--data-dir", "/nonexistent", "ping"], capture_output=True,
            check=False)
    equal(done.returncode, 69)


def status_says_what_there_is():
    status = ctl.rows("status")
    equal(status["os_pid"], broker.process.pid)
    equal(status["listeners"][0]["port"], broker.address[1])
    equal(status["alarms"], [])
    text = ctl.run("status")
    holds(f"127.0.0.1:{broker.address[1]}" in text and "Memory watermark" in text, text)
    environment = ctl.run("environment")
    holds("frame_max" in environment and "default_pass = guest" not in environment, environment)
    holds("list_vhosts" in ctl.run("report"))


def verbs_of_the_server_and_of_the_program_are_the_same():
    line = Line(ctl.socket)
    served = set(line.ask({"verb": "list_commands"})[1]["result"]["verbs"]) - {"list_commands"}
    line.close()
    text = ctl.run("--help")
    missing = [verb for verb in served if f"\n  {verb}" not in text]
    equal(missing, [])


# --- users, vhosts, permissions ---

def users():
    ctl.run("add_user", "ann", "secret")
    ctl.fails(70, "already exists", "add_user", "ann", "secret")
    ctl.fails(67, "does not exist", "delete_user", "nobody")
    ctl.fails(67, "does not exist", "change_password", "nobody", "x")
    ctl.run("set_user_tags", "ann", "monitoring", "policymaker")
    equal(sorted((row["user"], row["tags"]) for row in ctl.rows("list_users")),
          [("ann", ["monitoring", "policymaker"]), ("guest", ["administrator"])])
    equal(ctl.quiet("authenticate_user", "ann", "secret"), "")
    ctl.fails(65, "ann", "authenticate_user", "ann", "wrong")
    ctl.run("change_password", "ann", text="other\n")
    ctl.run("authenticate_user", "ann", "other")
    ctl.run("authenticate_user", "ann", text="other\n")
    ctl.run("clear_password", "ann")
    ctl.fails(65, "ann", "authenticate_user", "ann", "other")
    ctl.run("set_user_tags", "ann")
    equal([row["tags"] for row in ctl.rows("list_users") if row["user"] == "ann"], [[]])
    digest = ctl.run("hash_password", "pre").strip()
    ctl.run("add_user", "hal", "--pre-hashed-password", digest)
    ctl.run("authenticate_user", "hal", "pre")
    ctl.run("delete_user", "hal")
    ctl.run("delete_user", "ann")
    equal([row["user"] for row in ctl.rows("list_users")], ["guest"])


def passwords_are_nowhere():
    ctl.run("add_user", "sue", "Pa55phrase-1")
    ctl.run("change_password", "sue", "Pa55phrase-2")
    ctl.run("authenticate_user", "sue", "Pa55phrase-3", status=65)
    holds("Pa55phrase" not in ctl.error)
    holds("Pa55phrase" not in (broker.directory / "log").read_text())
    for file in (broker.directory / "data").rglob("*"):
        holds(not file.is_file() or b"Pa55phrase" not in file.read_bytes(), str(file))
    ctl.run("delete_user", "sue")


def vhosts_and_permissions():
    ctl.run("add_vhost", "v1", "--description", "a vhost", "--tags", "a,b")
    ctl.fails(70, "already exists", "add_vhost", "v1")
    ctl.fails(65, "does not exist", "delete_vhost", "nowhere")
    ctl.fails(69, "does not exist", "list_queues", "-p", "nowhere")
    row = [row for row in ctl.rows("list_vhosts", "name", "description", "tags") if row["name"] == "v1"]
    equal(row, [{"name": "v1", "description": "a vhost", "tags": ["a", "b"]}])
    ctl.run("add_user", "ann", "secret")
    ctl.run("set_permissions", "-p", "v1", "ann", "^a", ".*", "")
    ctl.fails(69, "", "set_permissions", "-p", "v1", "ann", "(", ".*", "")
    ctl.fails(67, "", "set_permissions", "-p", "v1", "nobody", "", ".*", "")
    equal(ctl.quiet("list_permissions", "-p", "v1"), "user\tconfigure\twrite\tread\nann\t^a\t.*\t\n")
    equal(ctl.rows("list_user_permissions", "ann"), [{"vhost": "v1", "configure": "^a", "write": ".*",
            "read": ""}])
    ctl.run("set_topic_permissions", "-p", "v1", "ann", "amq.topic", "^a", "^b")
    equal(ctl.rows("list_topic_permissions", "-p", "v1"),
          [{"user": "ann", "exchange": "amq.topic", "write": "^a", "read": "^b"}])
    equal(ctl.rows("list_user_topic_permissions", "ann"),
          [{"vhost": "v1", "exchange": "amq.topic", "write": "^a", "read": "^b"}])
    ctl.run("clear_topic_permissions", "-p", "v1", "ann")
    equal(ctl.rows("list_topic_permissions", "-p", "v1"), [])
    ctl.run("clear_permissions", "-p", "v1", "ann")
    equal(ctl.rows("list_permissions", "-p", "v1"), [])
    ctl.run("delete_vhost", "v1")
    ctl.run("delete_user", "ann")


def events_of_a_vhost():
    """What definitions change of it, or leave alone; rabbitmqctl of 3.10 wrote tags as one text."""
    connection = connect()
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, "amq.rabbitmq.event", "vhost.*")
    path = broker.directory / "vhosts.json"
    for description, tags in [("one", ["x", "y"]), ("one", ["x", "y"]), ("two", "x, y")]:
        path.write_text(json.dumps({"vhosts": [
            {"name": "v6", "metadata": {"description": description, "tags": tags,
                                        "default_queue_type": "quorum"}}]}))
        ctl.run("import_definitions", path)
    ctl.run("delete_vhost", "v6")
    told = []
    while len(told) < 3:
        method, properties, _ = channel.basic_get(queue, auto_ack=True)
        if method:
            told.append((method.routing_key, properties.headers))
    connection.close()
    equal([key for key, _ in told], ["vhost.created", "vhost.updated", "vhost.deleted"])
    for (_, headers), description, tags in zip(told, ["one", "two"], [["x", "y"], "x, y"]):
        equal({name: headers[name] for name in ("name", "description", "tags", "default_queue_type",
                                                "metadata", "tracing")},
              {"name": "v6", "description": description, "tags": ["x", "y"], "default_queue_type": "quorum",
               "metadata": {"description": description, "tags": tags, "default_queue_type": "quorum"},
               "tracing": False})
        equal(list(headers["cluster_state"].values()), ["running"])


def numbers_are_bounded():
    """vhost_max and the limits of all queues and exchanges hold for what is imported, too."""
    other = Leveret(options.leveret, ["vhost_max=2", "cluster_queue_limit=1", "cluster_exchange_limit=16"])
    other.start()
    there = Ctl(options.ctl, other)
    there.run("add_vhost", "one")
    said = "cannot create vhost 'two': vhost limit of 2 is reached"
    there.fails(65, said, "add_vhost", "two")
    path = other.directory / "more.json"
    queue = {"vhost": "/", "durable": True, "auto_delete": False, "arguments": {}}
    exchange = {**queue, "type": "topic", "internal": False}
    for definitions, text in [({"vhosts": [{"name": "one"}, {"name": "two"}]}, said),
                              ({"queues": [{"name": "q1", **queue}, {"name": "q2", **queue}]},
                               "cannot declare queue 'q2': queue limit in cluster (1) is reached"),
                              ({"exchanges": [{"name": "x1", **exchange}, {"name": "x2", **exchange}]},
                               "cannot declare exchange 'x2' in vhost '/': exchange limit of 16 is reached")]:
        path.write_text(json.dumps(definitions))
        there.fails(69, text, "import_definitions", path)
    there.run("delete_vhost", "one")
    there.run("add_vhost", "two")
    other.restart("term")
    equal(len(there.rows("list_vhosts")), 2)
    other.stop()


def vhosts_have_limits_by_default():
    """default_limits.vhosts: of the default vhost, of those made by hand and by definitions."""
    limits_of = "default_limits.vhosts."
    other = Leveret(options.leveret, [f"{limits_of}t.pattern=^tenant-", f"{limits_of}t.max_queues=1",
                                      f"{limits_of}none.pattern=^free$",
                                      f"{limits_of}z.max_connections=1", f"{limits_of}z.max_queues=5"])
    other.start()
    there = Ctl(options.ctl, other)
    there.run("add_vhost", "tenant-1")
    there.run("add_vhost", "free")
    path = other.directory / "more.json"
    path.write_text(json.dumps({"vhosts": [{"name": "tenant-2"}, {"name": "tenant-3"}],
                                "parameters": [{"vhost": "tenant-3", "component": "vhost-limits",
                                                "name": "limits", "value": {"max-queues": 7}}]}))
    there.run("import_definitions", path)
    for _ in range(2):
        equal({row["vhost"]: row["limits"] for row in there.rows("list_vhost_limits", "--global")},
              {"/": {"max-connections": 1, "max-queues": 5}, "tenant-1": {"max-queues": 1},
               "tenant-2": {"max-queues": 1}, "tenant-3": {"max-queues": 7}})
        other.restart("kill")
    there.run("clear_vhost_limits", "-p", "tenant-1")
    other.restart("term")
    holds("tenant-1" not in [row["vhost"] for row in there.rows("list_vhost_limits", "--global")])
    first = connect(at=other)
    closed = False
    try:
        connect(at=other)
    except pika.exceptions.AMQPError:
        closed = True
    holds(closed, "a second connection was let in")
    first.close()
    other.stop()


def parameters_are_bounded():
    """runtime_parameters.limits: of a component, in all vhosts together; what is there may be replaced."""
    limits_of = "runtime_parameters.limits."
    other = Leveret(options.leveret, [f"{limits_of}policy=2", f"{limits_of}shovel=1",
                                      f"{limits_of}operator_policy=0"])
    other.start()
    there = Ctl(options.ctl, other)
    there.run("add_vhost", "one")
    policy, said = '{"max-length": 1}', "component policy is limited to 2"
    there.run("set_policy", "p1", "x", policy)
    there.run("set_policy", "-p", "one", "p1", "x", policy)
    there.fails(69, said, "set_policy", "p2", "x", policy)
    there.run("set_policy", "p1", "y", policy)
    there.fails(69, "component operator_policy is limited to 0", "set_operator_policy", "o1", "x", policy)
    there.run("set_parameter", "shovel", "s1", "{}")
    there.run("set_parameter", "shovel", "s1", '{"src-uri": "amqp://"}')
    there.fails(69, "component shovel is limited to 1", "set_parameter", "-p", "one", "shovel", "s1", "{}")
    for i in range(3):
        there.run("set_parameter", "federation-upstream", f"u{i}", "{}")
        there.run("set_global_parameter", f"shovel{i}", "1")
    other.restart("kill")
    there.fails(69, said, "set_policy", "p2", "x", policy)
    there.fails(69, "component shovel is limited to 1", "set_parameter", "shovel", "s2", "{}")
    path = other.directory / "more.json"
    policies = [{"vhost": "/", "name": "p2", "pattern": "", "definition": {"max-length": 1}}]
    for definitions, text in [
            ({"policies": policies}, said),
            ({"parameters": [{"vhost": "/", "component": "shovel", "name": "s2", "value": {}}]},
             "parameter 's2' in vhost '/': component shovel is limited to 1")]:
        path.write_text(json.dumps(definitions))
        there.fails(69, text, "import_definitions", path)
    there.run("delete_vhost", "one")
    there.run("set_policy", "p2", "x", policy)
    there.fails(69, said, "set_policy", "p3", "x", policy)
    there.run("clear_policy", "p1")
    there.run("set_policy", "p3", "x", policy)
    there.run("clear_parameter", "shovel", "s1")
    there.run("set_parameter", "shovel", "s2", "{}")
    other.settings = [f"{limits_of}policy=1"]
    other.restart("term")
    equal(len(there.rows("list_policies")), 2)
    there.fails(69, "component policy is limited to 1", "set_policy", "p4", "x", policy)
    other.stop()


def limits():
    ctl.run("add_vhost", "v2")
    ctl.run("set_vhost_limits", "-p", "v2", '{"max-queues": 1, "max-connections": 5}')
    ctl.fails(69, "", "set_vhost_limits", "-p", "v2", '{"max-que": 1}')
    ctl.fails(69, "", "set_vhost_limits", "-p", "v2", "5")
    equal(ctl.rows("list_vhost_limits", "-p", "v2")[0]["limits"], {"max-connections": 5, "max-queues": 1})
    holds({"component": "vhost-limits", "name": "limits", "value": {"max-connections": 5, "max-queues": 1}} in
          ctl.rows("list_parameters", "-p", "v2"))
    equal(ctl.run("list_vhost_limits", "-p", "v2").splitlines()[0], 'Listing limits for vhost "v2" ...')
    equal(ctl.run("list_vhost_limits", "--global").splitlines()[0], "Listing limits for all vhosts ...")
    equal(ctl.rows("list_vhost_limits", "--global"),
          [{"vhost": "v2", "limits": {"max-connections": 5, "max-queues": 1}}])
    ctl.run("clear_vhost_limits", "-p", "v2")
    equal(ctl.rows("list_vhost_limits", "--global"), [])
    equal(ctl.rows("list_vhost_limits", "-p", "v2")[0]["limits"], {})
    ctl.run("set_user_limits", "guest", '{"max-channels": 1000}')
    equal(ctl.rows("list_user_limits", "--user", "guest"), [{"user": "guest",
            "limits": {"max-channels": 1000}}])
    equal(ctl.rows("list_user_limits", "--global"), [{"user": "guest", "limits": {"max-channels": 1000}}])
    said = ctl.run("list_user_limits", "--user", "guest")
    equal(said.splitlines()[0], 'Listing limits for user "guest" ...')
    equal(ctl.run("list_user_limits").splitlines()[0], "Listing limits for all users ...")
    ctl.run("clear_user_limits", "guest", "all")
    equal(ctl.rows("list_user_limits", "--user", "guest"), [{"user": "guest", "limits": {}}])
    ctl.run("delete_vhost", "v2")


def living_connections_feel_it():
    ctl.run("add_vhost", "v3")
    ctl.run("add_user", "bob", "pw")
    try:
        connect("bob", "pw", "v3")
        raise AssertionError("bob may enter")
    except (ConnectionClosedByBroker, ProbableAccessDeniedError):
        pass
    ctl.run("set_permissions", "-p", "v3", "bob", ".*", ".*", ".*")
    first, second, third = [connect("bob", "pw", "v3") for _ in range(3)]
    channel = first.channel()
    channel.queue_declare("one")
    ctl.run("set_permissions", "-p", "v3", "bob", "^$", ".*", ".*")
    try:
        channel.queue_declare("two")
        raise AssertionError("bob may still declare")
    except ChannelClosedByBroker as closed:
        equal(closed.reply_code, 403)
    ctl.run("close_all_user_connections", "bob", "go away")
    for connection in (first, second, third):
        equal(closed_with(connection), (320, "CONNECTION_FORCED - go away"))
    last = connect("bob", "pw", "v3")
    ctl.run("delete_vhost", "v3")
    equal(closed_with(last), (320, "CONNECTION_FORCED - vhost 'v3' is deleted"))
    ctl.run("add_vhost", "v3")
    ctl.run("set_permissions", "-p", "v3", "bob", ".*", ".*", ".*")
    last = connect("bob", "pw", "v3")
    ctl.run("delete_user", "bob")
    equal(closed_with(last), (320, "CONNECTION_FORCED - user 'bob' is deleted"))
    ctl.run("delete_vhost", "v3")


# --- lists ---

def lists_of_topology():
    connection = connect()
    channel = connection.channel()
    channel.queue_declare("l.durable", durable=True, arguments={"x-max-length": 5})
    channel.queue_declare("l.mine", exclusive=True)
    channel.exchange_declare("l.x", "topic", arguments={"alternate-exchange": "amq.fanout"})
    channel.queue_bind("l.durable", "l.x", "a.#", {"n": 1})
    channel.exchange_bind("l.x", "amq.direct", "key")
    for _ in range(3):
        channel.basic_publish("", "l.durable", b"hello")
    channel.queue_declare("l.durable", passive=True)
    channel.basic_qos(prefetch_count=2)
    channel.basic_consume("l.durable", lambda *_: None, consumer_tag="tag", arguments={"x-priority": 5})
    eventually(lambda: ctl.rows("list_queues", "messages_unacknowledged")[0]["messages_unacknowledged"] == 2)
    rows = ctl.rows("list_queues", "name", "messages", "messages_ready", "messages_unacknowledged",
            "consumers",
                    "durable", "auto_delete", "exclusive", "arguments", "type", "state", "policy")
    equal(rows[0], {"name": "l.durable", "messages": 3, "messages_ready": 1, "messages_unacknowledged": 2,
                    "consumers": 1, "durable": True, "auto_delete": False, "exclusive": False,
                    "arguments": {"x-max-length": 5}, "type": "classic", "state": "running", "policy": ""})
    equal((rows[1]["name"], rows[1]["exclusive"]), ("l.mine", True))
    equal(ctl.quiet("list_queues", "name,messages"), "name\tmessages\nl.durable\t3\nl.mine\t0\n")
    equal(ctl.run("-s", "list_queues"), "l.durable\t3\nl.mine\t0\n")
    equal(ctl.quiet("--formatter", "csv", "list_queues"), '"name","messages"\n"l.durable",3\n"l.mine",0\n')
    equal(ctl.quiet("--formatter", "pretty_table", "list_queues"),
          "name       messages\n---------  --------\nl.durable         3\nl.mine            0\n")
    exchange = [row for row in ctl.rows("list_exchanges", "name", "type", "durable", "internal", "arguments")
                if row["name"] == "l.x"]
    equal(exchange, [{"name": "l.x", "type": "topic", "durable": False, "internal": False,
                      "arguments": {"alternate-exchange": "amq.fanout"}}])
    bindings = ctl.rows("list_bindings")
    for source, kind, destination, key, arguments in (
            ("", "queue", "l.durable", "l.durable", {}), ("", "queue", "l.mine", "l.mine", {}),
            ("l.x", "queue", "l.durable", "a.#", {"n": 1}), ("amq.direct", "exchange", "l.x", "key", {})):
        holds({"source_name": source, "source_kind": "exchange", "destination_name": destination,
               "destination_kind": kind, "routing_key": key, "arguments": arguments} in bindings, bindings)
    equal(len(bindings), 4)
    consumer = ctl.rows("list_consumers")
    pid = consumer[0].pop("channel_pid")
    equal(consumer, [{"queue_name": "l.durable", "consumer_tag": "tag", "ack_required": True,
            "prefetch_count": 2,
                      "arguments": {"x-priority": 5}}])
    equal([row["pid"] for row in ctl.rows("list_channels", "pid")], [pid])
    connection.close()
    ctl.run("delete_queue", "l.durable")


def names_do_not_speak_to_the_terminal():
    """U+009B is to many terminals what ESC [ is: clients choose names, and administrators list them."""
    connection = connect()
    name = "n\x1b[\x7f\u009b2J\u202ex\u00e9"
    connection.channel().queue_declare(name, arguments={name: name})
    text = r"n\x1b[\x7f\u009b2J\u202ex" + "\u00e9"
    for form in ("table", "pretty_table", "csv", "json"):
        said = ctl.run("-s", "--formatter", form, "list_queues", "name", "arguments")
        holds(not any(character in said for character in "\x1b\x7f\u009b\u202e") and "x\u00e9" in said, said)
        holds(form == "json" or text in said, said)
    equal(ctl.rows("list_queues", "name", "arguments"), [{"name": name, "arguments": {name: name}}])
    connection.close()
    ctl.run("delete_queue", name)


def lists_of_clients():
    connection = connect(properties={"connection_name": "the reporter", "product": "test"})
    channel = connection.channel(7)
    channel.confirm_delivery()
    other = connection.channel(9)
    other.tx_select()
    other.queue_declare("c.q", exclusive=True)
    other.basic_publish("", "c.q", b"in a transaction")
    eventually(lambda: ctl.rows("list_channels", "messages_uncommitted")[1]["messages_uncommitted"] == 1)
    row = ctl.rows("list_connections", "name", "user", "vhost", "state", "channels", "user_provided_name",
                   "peer_host", "auth_mechanism", "client_properties", "protocol", "timeout", "port")[0]
    equal((row["user"], row["vhost"], row["state"], row["channels"], row["user_provided_name"],
            row["peer_host"],
           row["auth_mechanism"], row["protocol"], row["port"]),
          ("guest", "/", "running", 2, "the reporter", "127.0.0.1", "PLAIN", "AMQP 0-9-1", broker.address[1]))
    equal(row["client_properties"]["product"], "test")
    equal(ctl.rows("list_connections")[0].keys(), {"user", "peer_host", "peer_port", "state"})
    rows = ctl.rows("list_channels", "number", "confirm", "transactional", "messages_uncommitted", "name",
            "user")
    equal([(row["number"], row["confirm"], row["transactional"],
            row["messages_uncommitted"]) for row in rows],
          [(7, True, False, 0), (9, False, True, 1)])
    holds(rows[0]["name"].endswith(" (7)"))
    pid = ctl.rows("list_connections", "pid")[0]["pid"]
    ctl.run("close_connection", pid, "enough now")
    equal(closed_with(connection), (320, "CONNECTION_FORCED - enough now"))
    connection = connect()
    name = [row for row in ctl.rows("list_connections", "name",
            "state") if row["state"] == "running"][0]["name"]
    ctl.run("close_connection", name)
    equal(closed_with(connection)[0], 320)
    ctl.fails(69, "no such connection", "close_connection", "<0.999999.0>", "bye")
    ctl.fails(69, "no such connection", "close_connection", "nonsense", "bye")
    ctl.run("add_vhost", "aside")
    ctl.run("set_permissions", "-p", "aside", "guest", ".*", ".*", ".*")
    aside = connect(vhost="aside")
    connection = connect()
    ctl.run("close_all_connections", "those of /")
    equal(closed_with(connection)[0], 320)
    aside.channel()
    ctl.run("close_all_connections", "-p", "aside", "--limit", "1", "and this one")
    equal(closed_with(aside), (320, "CONNECTION_FORCED - and this one"))
    ctl.run("delete_vhost", "aside")
    connections = [connect() for _ in range(5)]
    ctl.run("close_all_connections", "--global", "all of you")
    for connection in connections:
        equal(closed_with(connection), (320, "CONNECTION_FORCED - all of you"))


def purge_and_delete():
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("p.q")
    for _ in range(4):
        channel.basic_publish("", "p.q", b"x")
    ctl.fails(65, "not empty", "delete_queue", "p.q", "--if-empty")
    holds("4 messages" in ctl.run("purge_queue", "p.q"))
    channel.basic_consume("p.q", lambda *_: None)
    ctl.fails(65, "in use", "delete_queue", "p.q", "--if-unused")
    ctl.run("delete_queue", "p.q")
    ctl.fails(64, "not found", "delete_queue", "p.q")
    ctl.fails(69, "not found", "purge_queue", "p.q")
    connection.close()


def a_long_list_while_queues_come_and_go():
    """20,000 queues stay, others are made and deleted meanwhile: each of those that stay is listed once."""
    queues = [{"name": f"m.{i}", "durable": False, "auto_delete": False, "arguments": {}, "vhost": "many"}
              for i in range(20000)]
    ctl.run("add_vhost", "many")
    ctl.run("import_definitions", "-", text=json.dumps({"queues": queues}))
    ctl.run("set_permissions", "-p", "many", "guest", ".*", ".*", ".*")
    over = threading.Event()

    def churn():
        connection = connect(vhost="many")
        channel = connection.channel()
        number = 0
        try:
            while not over.is_set():
                channel.queue_declare(f"churn.{number}")
                channel.queue_delete(f"churn.{number - 3}")
                number += 1
        except ConnectionClosedByBroker:
            pass  # the vhost is gone
    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(3):
            names = [row["name"] for row in ctl.rows("list_queues", "-p", "many", "name")]
            equal(sorted(name for name in names if name.startswith("m.")), sorted(q["name"] for q in queues))
        bindings = ctl.rows("list_bindings", "-p", "many", "destination_name")
        equal(len({row["destination_name"]
                for row in bindings if row["destination_name"].startswith("m.")}), 20000)
        line = Line(ctl.socket)
        line.send({"verb": "list_queues", "vhost": "many", "columns": ["name", "arguments"]})
        ctl.run("ping")  # while nobody reads that list
        ctl.run("delete_vhost", "many")
        rows, end = line.answer()
        holds(end["ok"] and len(rows) < 21000)
        line.close()
    finally:
        over.set()
        thread.join()
    equal(ctl.rows("list_connections", "vhost"), [])


# --- policies and parameters ---

def policies_are_checked():
    for error, *words in (
            ("not recognised policy settings", "p", "^q", '{"message-tt":1000}'),
            ("not a valid message TTL", "p", "^q", '{"message-ttl":"x"}'),
            ("not a valid message TTL", "p", "^q", '{"message-ttl":-1}'),
            ("not a valid queue expiry", "p", "^q", '{"expires":0}'),
            ("not a valid overflow", "p", "^q", '{"overflow":"drop"}'),
            ("regular expression", "p", "(", '{"message-ttl":5}'),
            ("unrecognised", "p", "^q", '{"message-ttl":5}', "--apply-to", "foo"),
            ("JSON decoding error", "p", "^q", '{"message-ttl":5'),
            ("no policy provided", "p", "^q", "{}"),
            ("no policy provided", "p", "^q", "[]"),
            ("settings: it is an argument, which cannot change", "p", "^q", '{"group-by":"routing-key"}'),
            ("settings: it is an argument, which cannot change", "p", "^q", '{"x-dedup-window":5}'),
            ("it is an argument, which cannot change", "p", "^q", '{"x-message-deduplication":true}'),
            ("settings: it is an argument, which cannot change", "p", "^q", '{"x-cache-size":5}'),
            ("not a valid list of retry delays", "p", "^q", '{"retry-delays":[]}'),
            ("not a valid list of retry delays", "p", "^q", '{"retry-delays":[1,-1]}'),
            ("not a valid retry factor", "p", "^q", '{"retry-factor":0}'),
            ("not a valid retry jitter", "p", "^q", '{"retry-jitter":101}'),
            ("not a valid delayed message flag", "p", "^q", '{"delayed-message":1}'),
            ("not a valid dead letter strategy", "p", "^q", '{"dead-letter-strategy":"never"}'),
            ("not a valid alternate exchange", "p", "^q", '{"alternate-exchange":5}'),
            ("not a valid consumer timeout", "p", "^q", '{"consumer-timeout":-1}'),
            ("needs a dead-letter-exchange", "p", "^q", '{"dead-letter-routing-key":"k"}')):
        ctl.fails(69, error, "set_policy", *words)
    ctl.fails(69, "not recognised", "set_operator_policy", "p", "^q", '{"dead-letter-exchange":"x"}')
    ctl.fails(69, "does not exist", "clear_policy", "nope")
    ctl.fails(69, "does not exist", "clear_operator_policy", "nope")
    equal(ctl.rows("list_policies"), [])


def effective(queue):
    return [(row["policy"], row["operator_policy"], row["effective_policy_definition"])
            for row in ctl.rows("list_queues", "name", "policy", "operator_policy",
                    "effective_policy_definition")
            if row["name"] == queue][0]


def policies_govern_living_queues():
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("y.q", durable=True, arguments={"x-max-length": 8})
    for _ in range(8):
        channel.basic_publish("", "y.q", b"x")
    ctl.run("set_policy", "low", "^y", '{"max-length":6}', "--priority", "1", "--apply-to", "queues")
    equal(channel.queue_declare("y.q", passive=True).method.message_count, 6)
    ctl.run("set_policy", "high", "q$", '{"max-length":5,"overflow":"reject-publish"}', "--priority", "2")
    equal(effective("y.q"), ("high", "", {"max-length": 5, "overflow": "reject-publish"}))
    try:
        channel.basic_publish("", "y.q", b"too much")
        raise AssertionError("a full queue took a message")
    except NackError:
        pass
    ctl.run("set_operator_policy", "op", ".*", '{"max-length":3}')
    equal(effective("y.q"), ("high", "op", {"max-length": 3, "overflow": "reject-publish"}))
    channel.queue_declare("y.new", durable=True)
    equal(effective("y.new"), ("low", "op", {"max-length": 3}))
    broker.restart("kill")
    equal(effective("y.q"), ("high", "op", {"max-length": 3, "overflow": "reject-publish"}))
    equal(ctl.rows("list_policies"),
          [{"vhost": "/", "name": "high", "pattern": "q$", "apply-to": "all",
            "definition": {"max-length": 5, "overflow": "reject-publish"}, "priority": 2},
           {"vhost": "/", "name": "low", "pattern": "^y", "apply-to": "queues",
                   "definition": {"max-length": 6},
            "priority": 1}])
    for verb, name in (("clear_policy", "high"), ("clear_policy", "low"), ("clear_operator_policy", "op")):
        ctl.run(verb, name)
    equal(effective("y.q"), ("", "", {}))
    channel = connect().channel()
    channel.confirm_delivery()
    ctl.run("purge_queue", "y.q")
    for _ in range(9):
        channel.basic_publish("", "y.q", b"x")
    equal(channel.queue_declare("y.q", passive=True).method.message_count, 8)  # its own argument again
    ctl.run("delete_queue", "y.q")
    ctl.run("delete_queue", "y.new")
    channel.connection.close()


def ready(channel, queue):
    return channel.queue_declare(queue, passive=True).method.message_count


def fill(channel, queue, count):
    for i in range(count):
        channel.basic_publish("", queue, str(i).encode())


def limits_by_policy():
    """A limit acts on what is there, the operator's too, and is gone when the policy is."""
    channel = connect().channel()
    channel.confirm_delivery()
    channel.queue_declare("lim")
    for verb, name in (("set_policy", "clear_policy"), ("set_operator_policy", "clear_operator_policy")):
        fill(channel, "lim", 8)
        ctl.run(verb, "p", "^lim", '{"max-length":5}')
        equal(ready(channel, "lim"), 5)
        fill(channel, "lim", 2)
        equal(ready(channel, "lim"), 5)
        ctl.run(verb, "p", "^lim", '{"max-length":5,"overflow":"reject-publish"}')
        try:
            fill(channel, "lim", 1)
            raise AssertionError("a full queue took a message")
        except NackError:
            pass
        ctl.run(name, "p")
        fill(channel, "lim", 3)
        equal(ready(channel, "lim"), 8)
        channel.queue_purge("lim")
    channel.queue_delete("lim")
    channel.connection.close()


def dead_letters_by_policy():
    channel = connect().channel()
    channel.queue_declare("dl.to")
    channel.queue_declare("dl.from")

    def reject():
        fill(channel, "dl.from", 1)
        frame = next(channel.consume("dl.from"))[0]
        channel.basic_reject(frame.delivery_tag, requeue=False)
        channel.cancel()
        return ready(channel, "dl.to")

    equal(reject(), 0)
    ctl.run("set_policy", "p", "^dl.from", '{"dead-letter-exchange":"","dead-letter-routing-key":"dl.to"}')
    equal(reject(), 1)
    ctl.run("clear_policy", "p")
    equal(reject(), 1)
    for queue in ("dl.to", "dl.from"):
        channel.queue_delete(queue)
    channel.connection.close()


def times_by_policy():
    """What has waited already goes at once; a queue that nobody uses, too."""
    channel = connect().channel()
    channel.queue_declare("ttl")
    for verb, clear in (("set_policy", "clear_policy"), ("set_operator_policy", "clear_operator_policy")):
        fill(channel, "ttl", 3)
        ctl.run(verb, "p", "^ttl", '{"message-ttl":1}')
        eventually(lambda: ready(channel, "ttl") == 0)
        ctl.run(clear, "p")
        fill(channel, "ttl", 3)
        equal(ready(channel, "ttl"), 3)
        channel.queue_purge("ttl")
        ctl.run(verb, "e", "^expires", '{"expires":1}')
        channel.queue_declare("expires.now")
        eventually(lambda: {"name": "expires.now"} not in ctl.rows("list_queues", "name"))
        ctl.run(clear, "e")
    channel.queue_delete("ttl")
    channel.connection.close()


def delivery_limit_by_policy():
    """Of a quorum queue the limit that it has by itself is no limit to a policy."""
    channel = connect().channel()
    channel.queue_declare("often", durable=True, arguments={"x-queue-type": "quorum"})

    def returns(most):
        """How often a message comes back before it is gone; `most` is enough."""
        fill(channel, "often", 1)
        for count in range(most):
            tag = channel.basic_get("often")[0]
            if tag is None:
                return count - 1
            channel.basic_nack(tag.delivery_tag, requeue=True)
        channel.queue_purge("often")
        return most

    equal(returns(40), 20)
    ctl.run("set_policy", "p", "^often", '{"delivery-limit":2}')
    equal(returns(40), 2)
    ctl.run("set_policy", "p", "^often", '{"delivery-limit":30}')
    equal(returns(40), 30)
    ctl.run("set_operator_policy", "o", "^often", '{"delivery-limit":3}')
    equal(returns(40), 3)
    ctl.run("clear_operator_policy", "o")
    ctl.run("set_policy", "p", "^often", '{"delivery-limit":-1}')
    equal(returns(40), 40)
    ctl.run("clear_policy", "p")
    equal(returns(40), 20)
    channel.queue_delete("often")
    channel.connection.close()


def retries_by_policy():
    """A policy says whether and how a queue that is there retries; what waits goes on to wait."""
    channel = connect().channel()
    channel.queue_declare("again", durable=True)
    channel.queue_declare("again.no", durable=True)

    def waits(count):
        eventually(lambda: {"name": "again", "messages_delayed": count} in ctl.rows(
                "list_queues", "name", "messages_delayed"))

    def put_back():
        frame, properties, _ = channel.basic_get("again")
        channel.basic_nack(frame.delivery_tag, requeue=True)
        return (properties.headers or {}).get("x-retry-count")

    def comes_back():
        eventually(lambda: ready(channel, "again") == 1)

    fill(channel, "again", 1)
    equal(put_back(), None)  # at once, without a policy
    comes_back()
    for definition in ('{"retry-delays":[1]}', '{"retry-base":1}', '{"retry-base":1000000,"retry-max":1}',
                       '{"retry-base":1,"retry-factor":1}', '{"retry-base":1,"retry-jitter":100}'):
        ctl.run("set_policy", "p", "^again$", definition)
        channel.queue_purge("again")
        fill(channel, "again", 1)
        equal(put_back(), None)
        comes_back()
        frame, properties, _ = channel.basic_get("again")
        equal(properties.headers["x-retry-count"], 1)
        channel.basic_ack(frame.delivery_tag)
    # The limit: of the list its length, else its own, and then it is a dead letter.
    ctl.run("set_policy", "p", "^again$", '{"retry-delays":[1,1],"dead-letter-exchange":"",'
            '"dead-letter-routing-key":"again.no"}')
    fill(channel, "again", 1)
    for count in (None, 1):
        equal(put_back(), count)
        comes_back()
    equal(put_back(), 2)
    eventually(lambda: ready(channel, "again.no") == 1)
    ctl.run("set_policy", "p", "^again$", '{"retry-base":1,"retry-limit":0,"dead-letter-exchange":"",'
            '"dead-letter-routing-key":"again.no"}')
    fill(channel, "again", 1)
    equal(put_back(), None)
    eventually(lambda: ready(channel, "again.no") == 2)
    # Without the policy what is put back from now on is there at once; what waits does so.
    ctl.run("set_policy", "p", "^again$", '{"retry-base":100000}')
    fill(channel, "again", 1)
    put_back()
    waits(1)
    ctl.run("clear_policy", "p")
    fill(channel, "again", 1)
    put_back()
    comes_back()
    waits(1)
    ctl.fails(69, "not recognised", "set_operator_policy", "p", "^again", '{"retry-base":5}')
    for queue in ("again", "again.no"):
        channel.queue_delete(queue)
    channel.connection.close()


def delays_by_policy():
    """An exchange that is there delays as long as a policy says so."""
    channel = connect().channel()
    channel.confirm_delivery()
    channel.exchange_declare("slowly", "fanout", durable=True)
    channel.queue_declare("slowly.q", durable=True)
    channel.queue_bind("slowly.q", "slowly")

    def publish(delay):
        channel.basic_publish("slowly", "", b"", pika.BasicProperties(delivery_mode=2,
                headers={"x-delay": delay}))

    publish(100000)
    equal(ready(channel, "slowly.q"), 1)
    ctl.run("set_policy", "--apply-to", "exchanges", "p", "^slowly", '{"delayed-message":true}')
    publish(100000)
    equal(ready(channel, "slowly.q"), 1)
    publish(1)
    eventually(lambda: ready(channel, "slowly.q") == 2)
    ctl.run("set_policy", "--apply-to", "exchanges", "p", "^slowly", '{"delayed-message":false}')
    publish(100000)
    equal(ready(channel, "slowly.q"), 3)
    equal(len(ctl.rows("list_delayed")), 1)
    ctl.run("clear_policy", "p")
    publish(100000)
    equal(ready(channel, "slowly.q"), 4)
    channel.exchange_delete("slowly")
    equal(len(ctl.rows("list_delayed")), 0)
    channel.queue_delete("slowly.q")
    channel.connection.close()


def bytes_by_policy():
    """max-length-bytes of argument, policy and operator policy: the least counts."""
    channel = connect().channel()
    channel.queue_declare("heavy", arguments={"x-max-length-bytes": 8})
    fill(channel, "heavy", 10)  # a byte each
    equal(ready(channel, "heavy"), 8)
    ctl.run("set_policy", "p", "^heavy", '{"max-length-bytes":9}')
    fill(channel, "heavy", 3)
    equal(ready(channel, "heavy"), 8)
    ctl.run("set_policy", "p", "^heavy", '{"max-length-bytes":6}')
    equal(ready(channel, "heavy"), 6)
    ctl.run("set_operator_policy", "o", "^heavy", '{"max-length-bytes":4}')
    equal(ready(channel, "heavy"), 4)
    ctl.run("clear_policy", "p")
    fill(channel, "heavy", 3)
    equal(ready(channel, "heavy"), 4)
    ctl.run("clear_operator_policy", "o")
    fill(channel, "heavy", 9)
    equal(ready(channel, "heavy"), 8)
    channel.queue_delete("heavy")
    channel.connection.close()


def consumer_timeout_by_policy():
    """Consumers that are there already have to keep to it."""
    connection = connect()
    channel = connection.channel()
    channel.queue_declare("slow")
    fill(channel, "slow", 1)
    channel.basic_consume("slow", lambda *_: None)
    connection.process_data_events(time_limit=0)
    ctl.run("set_policy", "p", "^slow", '{"consumer-timeout":50}')
    try:
        channel.start_consuming()
        raise AssertionError("the channel is still open")
    except ChannelClosedByBroker as closed:
        equal(closed.reply_code, 406)
        holds("timed out" in closed.reply_text, closed.reply_text)
    ctl.run("clear_policy", "p")
    channel = connection.channel()
    channel.queue_delete("slow")
    connection.close()


def default_queue_type_of_a_vhost():
    ctl.run("add_vhost", "kinds", "--default-queue-type", "quorum")
    ctl.run("set_permissions", "-p", "kinds", "guest", ".*", ".*", ".*")

    def kinds(channel):
        channel.queue_declare("lasting", durable=True)
        channel.queue_declare("other", durable=True, arguments={"x-queue-type": "classic"})
        channel.queue_declare("passing")
        channel.connection.close()
        return {row["name"]: row["type"] for row in ctl.rows("list_queues", "-p", "kinds", "name", "type")}

    for odd in ("stream", "nonsense", ""):  # queues would be of another type, and nobody would know
        ctl.fails(69, f"unsupported default queue type '{odd}'", "add_vhost", "odd", "--default-queue-type",
                  odd)
    vhost = {"name": "odd", "metadata": {"default_queue_type": "stream"}}
    ctl.run("import_definitions", "-", text=json.dumps({"vhosts": [vhost]}), status=69)
    vhost = {"name": "odd", "metadata": {"default_queue_type": "undefined"}}
    ctl.run("import_definitions", "-", text=json.dumps({"vhosts": [vhost]}))
    ctl.run("delete_vhost", "odd")
    expected = {"lasting": "quorum", "other": "classic", "passing": "classic"}
    equal(kinds(connect(vhost="kinds").channel()), expected)
    broker.restart("kill")
    channel = connect(vhost="kinds").channel()
    channel.queue_delete("lasting")
    equal(kinds(channel), expected)
    ctl.run("delete_vhost", "kinds")


def alternate_exchange_by_policy():
    connection = connect()
    channel = connection.channel()
    channel.exchange_declare("ae.x", "direct")
    channel.queue_declare("ae.q", exclusive=True)
    channel.queue_bind("ae.q", "amq.fanout")
    channel.basic_publish("ae.x", "nowhere", b"lost")
    ctl.run("set_policy", "ae", "^ae", '{"alternate-exchange":"amq.fanout"}', "--apply-to", "exchanges")
    equal([row["policy"] for row in ctl.rows("list_exchanges", "name", "policy") if row["name"] == "ae.x"],
            ["ae"])
    channel.basic_publish("ae.x", "nowhere", b"found")
    equal(channel.basic_get("ae.q", True)[2], b"found")
    ctl.run("clear_policy", "ae")
    channel.basic_publish("ae.x", "nowhere", b"lost again")
    equal(channel.basic_get("ae.q", True)[0], None)
    channel.exchange_delete("ae.x")
    connection.close()


def delayed_by_policy():
    """An exchange delays while a policy says so; what waits is listed, cancelled, and comes when it goes."""
    channel = connect().channel()
    channel.confirm_delivery()
    channel.exchange_declare("late.x", "topic", durable=True)
    channel.queue_declare("late.q")
    channel.queue_bind("late.q", "late.x", "#")

    def publish(body, headers):
        channel.basic_publish("late.x", "k", body, pika.BasicProperties(
            delivery_mode=2, message_id=body.decode(), headers=headers))

    publish(b"no policy", {"x-delay": 3600000})
    equal(ready(channel, "late.q"), 1)
    ctl.run("set_policy", "late", "^late", '{"delayed-message":true}', "--apply-to", "exchanges")
    publish(b"far", {"x-delay": 3600000})
    publish(b"at", {"x-deliver-at": int(time.time() * 1000) + 7200000})
    publish(b"none", {"mine": 1})
    equal(ready(channel, "late.q"), 2)
    equal([row["messages_delayed"] for row in ctl.rows("list_exchanges", "name", "messages_delayed")
           if row["name"] == "late.x"], [2])
    rows = {row["message_id"]: row for row in ctl.rows("list_delayed")}
    equal(sorted(rows), ["at", "far"])
    equal([rows["at"][key] for key in ("exchange", "routing_key", "body_bytes")], ["late.x", "k", 2])
    ctl.fails(69, "No such delayed message", "cancel_delayed", rows["at"]["id"] + "0")
    ctl.fails(69, "no id of a delayed message", "cancel_delayed", "nonsense")
    ctl.run("cancel_delayed", rows["at"]["id"])
    ctl.fails(69, "No such delayed message", "cancel_delayed", rows["at"]["id"])
    ctl.run("clear_policy", "late")
    publish(b"no policy", {"x-delay": 3600000})
    equal(ready(channel, "late.q"), 3)
    broker.restart("kill")
    equal([row["message_id"] for row in ctl.rows("list_delayed")], ["far"])
    ctl.run("cancel_delayed", rows["far"]["id"])
    broker.restart("kill")
    equal(ctl.rows("list_delayed"), [])
    channel = connect().channel()
    channel.exchange_delete("late.x")
    channel.connection.close()


def retries_of_a_living_queue():
    """A living queue retries while a policy says so; its own argument counts before that."""
    channel = connect().channel()
    channel.queue_declare("try.q", durable=True)

    def put_back():
        frame, properties, _ = channel.basic_get("try.q")
        channel.basic_nack(frame.delivery_tag, requeue=True)
        return (properties.headers or {}).get("x-retry-count")

    channel.basic_publish("", "try.q", b"m", pika.BasicProperties(delivery_mode=2))
    equal(put_back(), None)
    equal(ready(channel, "try.q"), 1)
    ctl.run("set_policy", "try", "^try", '{"retry-delays":[3600000]}', "--apply-to", "queues")
    equal(put_back(), None)
    equal(ready(channel, "try.q"), 0)
    equal([(row["messages_ready"], row["messages_delayed"]) for row in
           ctl.rows("list_queues", "name", "messages_ready", "messages_delayed") if row["name"] == "try.q"],
          [(0, 1)])
    rows = ctl.rows("list_delayed")
    equal([(row["queue"], row["routing_key"]) for row in rows], [("try.q", "try.q")])
    ctl.run("cancel_delayed", rows[0]["id"])
    ctl.run("set_policy", "try", "^try", '{"retry-base":1,"retry-max":2,"retry-limit":1}')
    channel.basic_publish("", "try.q", b"m")
    put_back()
    eventually(lambda: ready(channel, "try.q") == 1)
    equal(put_back(), 1)  # the last time: dropped
    equal(ready(channel, "try.q"), 0)
    for error, definition in (("not a valid list of retry delays", '{"retry-delays":[]}'),
                              ("not a valid list of retry delays", '{"retry-delays":[-1]}'),
                              ("not a valid retry jitter", '{"retry-jitter":101}'),
                              ("not a valid retry limit", '{"retry-limit":-1}')):
        ctl.fails(69, error, "set_policy", "p", "^q", definition)
    ctl.run("clear_policy", "try")
    channel.basic_publish("", "try.q", b"m")
    put_back()
    equal(put_back(), None)
    channel.queue_delete("try.q")
    channel.connection.close()


def one_policy_for_many_queues():
    queues = [{"name": f"many.{i}", "durable": False, "vhost": "/"} for i in range(5000)]
    ctl.run("import_definitions", "-", text=json.dumps({"queues": queues}))
    ctl.run("set_policy", "p", "[02468]$", '{"max-length":7}')
    rows = {row["name"]: row["policy"] for row in ctl.rows("list_queues", "name", "policy")}
    holds(all(rows[f"many.{i}"] == ("" if i % 2 else "p") for i in range(5000)))
    ctl.run("clear_policy", "p")
    holds(not any(row["policy"] for row in ctl.rows("list_queues", "policy")))
    broker.restart("term")  # and with it these queues


def parameters():
    ctl.fails(69, "component foo not found", "set_parameter", "foo", "bar", "{}")
    ctl.fails(69, "policies may not be set", "set_parameter", "policy", "bar", "{}")
    ctl.run("set_parameter", "federation-upstream", "up", '{"uri":"amqp://elsewhere"}')
    equal(ctl.rows("list_parameters"),
          [{"component": "federation-upstream", "name": "up", "value": {"uri": "amqp://elsewhere"}}])
    ctl.run("clear_parameter", "federation-upstream", "up")
    ctl.fails(69, "does not exist", "clear_parameter", "federation-upstream", "up")
    ctl.fails(69, "JSON decoding error", "set_global_parameter", "g", "{")
    ctl.run("set_global_parameter", "g", '{"a":1}')
    ctl.run("set_global_parameter", "h", '"text"')
    broker.restart("kill")
    equal(ctl.rows("list_global_parameters"), [{"name": "g", "value": {"a": 1}}, {"name": "h",
            "value": "text"}])
    ctl.run("clear_global_parameter", "g")
    ctl.run("clear_global_parameter", "h")
    equal(ctl.rows("list_global_parameters"), [])
    for value, told in (('"the east"', "the east"), ('{"no": "text"}', "leveret@"),
                        (f'"{"e" * 255}"', "e" * 255), (f'"{"e" * 256}"', "leveret@"),
                        (f'"{"e" * 100000}"', "leveret@")):
        ctl.run("set_global_parameter", "cluster_name", value)
        with connect() as connection:
            holds(connection._impl.server_properties["cluster_name"].startswith(told))
    ctl.run("clear_global_parameter", "cluster_name")


# --- definitions ---

def normal(definitions):
    """Lists of objects in an order of their own; what RabbitMQ writes in two ways in one."""
    result = {}
    for section, objects in definitions.items():
        if isinstance(objects, list):
            for thing in objects:
                if thing.get("component") == "operator_policy":
                    thing["value"]["definition"] = dict(thing["value"]["definition"])
            result[section] = sorted(json.dumps(thing, sort_keys=True) for thing in objects)
    return result


def exported_by_rabbitmq():
    """The file, which has queues of both types."""
    definitions = json.loads(EXPORTED.read_text(encoding="utf-8"))
    equal({queue["type"] for queue in definitions["queues"]}, {"classic", "quorum"})
    return definitions


def without_internal(definitions):
    """RabbitMQ leaves out internal exchanges, and not their bindings."""
    known = {(exchange["vhost"], exchange["name"]) for exchange in definitions["exchanges"]}

    def there(binding, name):
        return name.startswith("amq.") or (binding["vhost"], name) in known

    return {**definitions, "bindings": [
        binding for binding in definitions["bindings"] if there(binding, binding["source"]) and
        (binding["destination_type"] == "queue" or there(binding, binding["destination"]))]}


def expect_definitions(at, definitions):
    """All that the file says and nothing else but what belongs to internal exchanges."""
    got = normal(json.loads(at.quiet("export_definitions", "-")))
    wanted = normal(without_internal(definitions))
    for section in {*got, *wanted}:
        missing = set(wanted.get(section, [])) - set(got.get(section, []))
        more = set(got.get(section, [])) - set(wanted.get(section, []))
        holds(not missing and not more, f"{section}: missing {missing}, more {more}")
    equal(got, wanted)


def everything_of_rabbitmq():
    definitions = json.loads(EXPORTED_ALL.read_text(encoding="utf-8"))
    other = Leveret(options.leveret)
    at = Ctl(options.ctl, other)
    other.start()
    file = other.directory / "definitions.json"
    file.write_text(json.dumps(definitions), encoding="utf-8")
    at.run("import_definitions", file)
    expect_definitions(at, definitions)
    for how in "kill", "term":
        other.restart(how)
        expect_definitions(at, definitions)
    # What was declared may be declared again, by a client who says the same of it.
    connection = connect(at=other)
    channel = connection.channel()
    for queue in definitions["queues"]:
        if queue["vhost"] == "/":
            channel.queue_declare(queue["name"], durable=queue["durable"], auto_delete=queue["auto_delete"],
                                  arguments=queue["arguments"])
    for exchange in definitions["exchanges"]:
        if exchange["vhost"] == "/":
            channel.exchange_declare(exchange["name"], exchange["type"], durable=exchange["durable"],
                                     auto_delete=exchange["auto_delete"], arguments=exchange["arguments"])
    connection.close()
    other.stop()


def definitions_of_rabbitmq():
    definitions = exported_by_rabbitmq()
    other = Leveret(options.leveret)
    at = Ctl(options.ctl, other)
    other.start()
    file = other.directory / "definitions.json"
    file.write_text(json.dumps(definitions), encoding="utf-8")
    for _ in range(2):  # once more changes nothing
        at.run("import_definitions", file)
        holds("2 left out" in at.error, at.error)
        expect_definitions(at, definitions)
    other.restart("kill")
    durable = [queue for queue in definitions["queues"] if queue["durable"]]
    lasting = [exchange for exchange in definitions["exchanges"] if exchange["durable"]]
    expect_definitions(at, {**definitions, "queues": durable, "exchanges": lasting})
    at.run("authenticate_user", "bob", "bobpw")
    connect("bob", "bobpw", "v1", at=other).close()
    at.run("export_definitions", file)
    equal(stat.S_IMODE(os.stat(file).st_mode), 0o600)
    other.stop()


def definitions_at_the_start():
    definitions = exported_by_rabbitmq()
    other = Leveret(options.leveret)
    folder = other.directory / "definitions"
    folder.mkdir()
    parts = [("1.json", ("vhosts", "users", "permissions", "parameters", "policies", "global_parameters")),
             ("2.json", ("exchanges", "queues", "bindings", "topic_permissions"))]
    for name, sections in parts:
        (folder / name).write_text(json.dumps({section: definitions[section] for section in sections}))
    (folder / "readme").write_text("not JSON")
    other.settings = [f"definitions.local.path={folder}", "definitions.skip_if_unchanged=true"]
    other.start()
    at = Ctl(options.ctl, other)
    expect_definitions(at, definitions)
    at.run("delete_queue", "q.orders")
    other.restart("term")
    holds("not loaded again" in (other.directory / "log").read_text())
    holds("q.orders" not in at.run("list_queues"))
    (folder / "3.json").write_text("{}")
    other.restart("term")
    holds("q.orders" in at.run("list_queues"))
    other.stop()


DEEP = ('{"vhosts":[{"name":"/"}],"queues":[{"name":"q","vhost":"/","arguments":' +
        '{"a":' * 1000 + "1" + "}" * 1000 + "}]}")


def definitions_that_cannot_be_stop_the_start():
    for text, error in (("{", "no JSON"), ("[]", "a JSON object"), ('{"queues":{}}', "'queues' is no list"),
                        ('{"queues":[{"name":"q","vhost":"nowhere"}]}',
                                "queue 'q': there is no vhost 'nowhere'"),
                        ('{"users":[{"name":""}]}', "user ''"), ("[" * 1000000, "depth"),
                        ('{"queues":' * 100000, "depth"), (DEEP, "arguments are nested too deeply")):
        other = Leveret(options.leveret)
        file = other.directory / "definitions.json"
        file.write_text(text)
        done = subprocess.run([other.path, "--data-dir", str(other.directory / "data"), "--set",
                               f"load_definitions={file}", "--set", "listeners.tcp.1=127.0.0.1:0"],
                              stdout=subprocess.PIPE, text=True, timeout=60, check=False)
        equal(done.returncode, 1)
        holds(error in done.stdout, done.stdout)
        other.temporary.cleanup()


def limits_that_are_wrong_leave_those_that_are_there():
    ctl.run("add_user", "limited", "pw")
    ctl.run("set_user_limits", "limited", '{"max-connections": 5}')
    user = {"name": "limited", "password_hash": "", "tags": [], "limits": {"max-connections": "x"}}
    ctl.run("import_definitions", "-", text=json.dumps({"users": [user]}), status=69)
    holds("max-connections should be an integer" in ctl.error, ctl.error)
    holds('"max-connections":5' in ctl.run("list_user_limits", "--user", "limited"))
    user["limits"] = {"max-channels": 7}
    ctl.run("import_definitions", "-", text=json.dumps({"users": [user]}))
    limits = ctl.run("list_user_limits", "--user", "limited")
    holds("max-connections" not in limits and '"max-channels":7' in limits, limits)
    ctl.run("delete_user", "limited")


def definitions_name_what_is_wrong():
    for definitions, error in (
            ({"queues": [{"name": "d.bad", "vhost": "/", "arguments": {"x-max-length": "x"}}]}, "d.bad"),
            ({"queues": [{"name": "d.bad", "vhost": "/", "arguments": 5}]}, "arguments are no object"),
            ({"queues": [{"name": "d.bad", "vhost": "/", "durable": False,
                          "arguments": {"x-queue-type": "quorum"}}]}, "invalid property 'non-durable'"),
            ({"queues": [{"name": "d.bad", "vhost": "/", "arguments": {"x-queue-type": "quorum",
                          "x-max-priority": 3}}]}, "x-max-priority"),
            ({"queues": [{"vhost": "/"}]}, "a queue has no text 'name'"),
            ({"queues": [{"name": "x" * 256, "vhost": "/"}]}, "255"),
            ({"queues": [{"name": "amq.delayed.d.x", "vhost": "/"}]}, "amq.delayed. and amq.memory. are"),
            ({"queues": [{"name": "amq.memory.d.x", "vhost": "/"}]}, "amq.delayed. and amq.memory. are"),
            ({"queues": [5]}, "number 1 of 'queues' is no object"),
            ({"exchanges": [{"name": "d.x", "vhost": "/", "type": "nonsense"}]},
                    "unknown exchange type 'nonsense'"),
            ({"permissions": [{"user": "nobody", "vhost": "/", "configure": "", "write": "", "read": ""}]},
                    "nobody"),
            ({"permissions": [{"user": "guest", "vhost": "/", "configure": "(", "write": "", "read": ""}]},
                    "guest"),
            ({"policies": [{"name": "d.p", "vhost": "/", "pattern": "", "definition": {"nonsense": 1}}]},
                    "d.p"),
            ({"parameters": [{"component": "nonsense", "name": "d.n", "vhost": "/", "value": 1}]},
                    "nonsense"),
            ({"vhosts": [{"name": ""}]}, "vhost ''"),
            ({"bindings": [{"source": "amq.headers", "destination": "d.q", "destination_type": "queue",
                            "routing_key": "", "vhost": "/", "arguments": {"x-match": "sometimes"}}],
              "queues": [{"name": "d.q", "vhost": "/"}]}, "amq.headers")):
        ctl.run("import_definitions", "-", text=json.dumps(definitions), status=69)
        holds(error in ctl.error, f"{error}: {ctl.error}")
    ctl.run("delete_queue", "d.q")
    ctl.run("import_definitions", "/nonexistent", status=74)
    export_to_a_pipe()
    ctl.run("export_definitions", "/nonexistent/file", status=74)
    ctl.run("import_definitions", "-", text="{", status=65)
    ctl.run("import_definitions", "-", text='{"queues": {"name": "d.q", "vhost": "/"}}', status=65)
    holds("'queues' is no list" in ctl.error)


def export_while_a_vhost_is_deleted():
    """Which takes many turns for 20,000 queues: what goes is not in the file, and the file is whole."""
    ctl.run("add_vhost", "going")
    ctl.run("import_definitions", "-", text=json.dumps(
        {"queues": [{"name": f"g.{i}", "durable": False, "vhost": "going"} for i in range(20000)]}))
    deleting, exporting = Line(ctl.socket), Line(ctl.socket)
    deleting.send({"verb": "delete_vhost", "name": "going"})
    export = {"verb": "export_definitions"}
    eventually(lambda: not any("going" in str(row) for row in exporting.ask(export)[0]))
    equal(deleting.answer(), ([], {"ok": True}))
    rows, end = exporting.ask(export)
    holds(end["ok"] and any("vhosts" in row for row in rows))
    deleting.close()
    exporting.close()


def export_to_a_pipe():
    """What is no plain file is written to, not replaced: it could be /dev/null."""
    pipe = broker.directory / "pipe"
    os.mkfifo(pipe)
    heard = []
    thread = threading.Thread(target=lambda: heard.append(json.loads(pipe.read_text())))
    thread.start()
    ctl.run("export_definitions", pipe)
    thread.join()
    holds("guest" in [user["name"] for user in heard[0]["users"]])
    holds(stat.S_ISFIFO(os.lstat(pipe).st_mode))


def zero_bytes_in_names():
    """AMQP allows them, and so may nobody hide a queue from the lists by one, or spoil the definitions."""
    name, file = "z\0z", broker.directory / "zeros.json"
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(name, durable=True, arguments={"k\0k": "v\0v"})
    channel.queue_bind(name, "amq.topic", "a\0b")
    equal(ctl.rows("list_queues", "name", "arguments"), [{"name": name, "arguments": {"k\ufffdk": "v\0v"}}])
    ctl.run("set_policy", "zeros", "^z", '{"dead-letter-exchange": "d\\u0000d"}')
    ctl.run("export_definitions", file)
    ctl.run("clear_policy", "zeros")
    channel.queue_delete(name)
    for _ in range(2):
        ctl.run("import_definitions", file)
        channel.queue_declare(name, passive=True)
        holds({"source_name": "amq.topic", "routing_key": "a\0b"} in
              ctl.rows("list_bindings", "source_name", "routing_key"))
        holds("d\\u0000d" in ctl.run("list_policies"))
    policy = {"name": "z\0", "vhost": "/", "pattern": "", "definition": {"expires": 1}}
    for definitions in ({"policies": [policy]},
                        {"global_parameters": [{"name": "z\0", "value": 1}]},
                        {"parameters": [{"component": "shovel", "name": "z\0", "vhost": "/", "value": 1}]},
                        {"vhosts": [{"name": "z\0"}]}, {"users": [{"name": "z\0", "password_hash": ""}]}):
        ctl.run("import_definitions", "-", text=json.dumps(definitions), status=69)
    line = Line(ctl.socket)
    equal(line.ask({"verb": "delete_queue", "name": name})[1]["ok"], True)
    for verb in ("clear_parameter", "clear_global_parameter"):
        equal(line.ask({"verb": verb, "name": "a\0b", **({"component": "c\0"} if verb[6] == "p" else {})})[1]
              ["error"], "not_found")
    line.close()
    ctl.run("clear_policy", "zeros")
    connection.close()


def export_to_a_link():
    """What it leads to is written from its beginning, and what was there before is gone to the last byte."""
    target, link = broker.directory / "target", broker.directory / "link"
    target.write_text("x" * 100000)
    link.symlink_to(target)
    ctl.run("export_definitions", link)
    holds(link.is_symlink() and "guest" in [user["name"] for user in json.loads(target.read_text())["users"]])


def a_full_disk_is_said():
    for words in (["export_definitions", "-"], ["export_definitions", "/dev/full"], ["list_vhosts"],
                  ["status"], ["--formatter", "json", "list_exchanges"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run([ctl.path, "--socket", str(ctl.socket), *words], stdout=full,
                                  stderr=subprocess.PIPE, text=True, check=False)
        equal((words, done.returncode), (words, 74))
        holds("No space left on device" in done.stderr or "cannot be written" in done.stderr, done.stderr)


def closed_standard_descriptors():
    """Nothing of the server gets their numbers, and leveretctl does not talk to the server through print."""
    other = Leveret(options.leveret)
    data = other.directory / "data"
    words = [other.path, "--data-dir", str(data), "--set", f"listeners.tcp.1=127.0.0.1:{other.address[1]}"]
    process = subprocess.Popen(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *words])
    try:
        eventually(other.accepts)
        for number in range(3):
            equal(os.readlink(f"/proc/{process.pid}/fd/{number}"), "/dev/null")
    finally:
        process.terminate()
    equal(process.wait(20), 0)
    words = [ctl.path, "--socket", str(ctl.socket), "list_vhosts"]
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *words], stderr=subprocess.PIPE, text=True,
                          check=False)
    equal(done.returncode, 74)
    holds("Bad file descriptor" in done.stderr or "cannot be written" in done.stderr, done.stderr)


def existing_queues_stay_as_they_are():
    connection = connect()
    connection.channel().queue_declare("e.q", durable=True, arguments={"x-max-length": 5})
    ctl.run("import_definitions", "-", text=json.dumps(
        {"queues": [{"name": "e.q", "vhost": "/", "durable": False, "arguments": {"x-max-length": 9}},
                    {"name": "e.exclusive", "vhost": "/", "exclusive": True}],
         "exchanges": [{"name": "amq.topic", "vhost": "/",
                 "type": "fanout"}], "unknown": [1], "comment": "x"}))
    equal(ctl.rows("list_queues", "name", "durable", "arguments"),
          [{"name": "e.q", "durable": True, "arguments": {"x-max-length": 5}}])
    ctl.run("delete_queue", "e.q")
    connection.close()


def stop_waits_for_the_end():
    connection = connect()
    ctl.run("stop")
    equal(broker.process.wait(20), 0)
    equal(closed_with(connection), (320, "CONNECTION_FORCED - broker forced connection closure with reason "
                                         "'shutdown'"))
    holds(not ctl.socket.exists())
    ctl.fails(69, "no server answers", "ping")
    thread = threading.Timer(0.1, broker.start)
    thread.start()
    ctl.run("await_startup")
    thread.join()


CHECKS = [
    socket_is_its_owners_alone, socket_mode_does_not_follow_the_umask, socket_of_a_killed_server_is_replaced,
    socket_elsewhere_or_nowhere, a_file_in_the_way_stops_the_start, lines_that_are_no_requests,
    lines_in_pieces_and_many_at_once, who_closes_its_end_is_answered,
    line_without_end_is_refused, too_many_clients_are_turned_away, usage,
    status_says_what_there_is, verbs_of_the_server_and_of_the_program_are_the_same, users,
    passwords_are_nowhere,
    vhosts_and_permissions, events_of_a_vhost, limits, living_connections_feel_it, lists_of_topology,
    numbers_are_bounded, vhosts_have_limits_by_default, parameters_are_bounded, lists_of_clients,
    names_do_not_speak_to_the_terminal,
    purge_and_delete, policies_are_checked, policies_govern_living_queues, alternate_exchange_by_policy,
    limits_by_policy, dead_letters_by_policy, times_by_policy, delivery_limit_by_policy,
    retries_by_policy, delays_by_policy, bytes_by_policy,
    consumer_timeout_by_policy, default_queue_type_of_a_vhost,
    delayed_by_policy, retries_of_a_living_queue, one_policy_for_many_queues, parameters,
    definitions_of_rabbitmq,
    everything_of_rabbitmq, definitions_at_the_start,
    definitions_that_cannot_be_stop_the_start, definitions_name_what_is_wrong,
    limits_that_are_wrong_leave_those_that_are_there,
    existing_queues_stay_as_they_are, zero_bytes_in_names, export_to_a_link, a_full_disk_is_said,
    closed_standard_descriptors,
    export_while_a_vhost_is_deleted, a_long_list_while_queues_come_and_go, stop_waits_for_the_end,
]


def main():
    passed = failed = 0
    broker.start()
    for check in CHECKS:
        label = check.__name__
        if options.names and label not in options.names:
            continue
        try:
            check()
            passed += 1
            print(f"ok {label.replace('_', ' ')}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAIL {label}: {type(error).__name__} {str(error)[:2000]}", flush=True)
            traceback.print_exc()
    try:
        broker.stop()
    except Exception as error:
        failed += 1
        print(f"FAIL the broker: {error}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
