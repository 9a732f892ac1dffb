#!/usr/bin/env python3
"""access.py - who gets in, by way of other backends: access.py --leveret PATH [scenario...]

Each scenario has a broker of its own, and an HTTP service or tokens made up for it. A broker that waits for a
service serves everybody else meanwhile.
"""
import argparse
import hmac
import json
import pathlib
import sys
import tempfile
import time

import amqp
from broker import BrokerFailed, Leveret
from link import Failure, Link, check
from service import Key, Service, b64

TIMEOUT = 20
FRAME_MAX = 131072


def connect(broker, user=b"guest", password=b"guest", vhost=b"/", mechanism=b"PLAIN", response=None):
    link = Link(broker.address, TIMEOUT)
    link.start(user, password, mechanism=mechanism, response=response)
    link.tune()
    link.open(vhost)
    link.call(1, "channel.open")
    return link


def refused(broker, user, password, **options):
    """The login is refused, and the client is told nothing of the reason."""
    link = Link(broker.address, TIMEOUT)
    link.start(user, password, **options)
    event = link.next_event_or_close()
    check(event.name == "connection.close" and event.fields["reply_code"] == 403, f"got {event}")
    check(b"Login was refused" in event.fields["reply_text"], f"got {event}")
    link.drop()


def closed_with(link, code, text):
    event = link.next_event_or_close()
    check(event.name == "connection.close" and event.fields["reply_code"] == code, f"got {event}")
    check(text in event.fields["reply_text"], f"got {event}")
    link.drop()


def channel_refused(link, channel, text):
    """403, and the channel is open again."""
    event = link.next_event(channel)
    check(event.name == "channel.close" and event.fields["reply_code"] == 403, f"got {event}")
    check(text in event.fields["reply_text"], f"got {event}")
    link.send_method(channel, "channel.close-ok")
    link.call(channel, "channel.open")


def publish(link, exchange, key, body, channel=1, **properties):
    fields = {"exchange": exchange, "routing_key": key, "mandatory": 1}
    link.send(b"".join([amqp.publish_frames(channel, fields, amqp.write_properties(properties), body,
                                            FRAME_MAX)]))


def get(link, queue):
    link.send_method(1, "basic.get", queue=queue, no_ack=1)
    event = link.next_event(1)
    return event.body if event.name == "basic.get-ok" else None


def log_of(broker):
    return (broker.directory / "log").read_text(errors="replace")


def http_settings(service, first="http", method="post"):
    kinds = "user", "vhost", "resource", "topic"
    paths = [f"auth_http.{kind}_path={service.url('/' + kind)}" for kind in kinds]
    return [f"auth_backends.1={first}", f"auth_http.http_method={method}", *paths]


def rule(path, query):
    """bob may do what has his name in it; names with wait are answered slowly by the scenario's hold."""
    if path == "/user":
        good = query["username"] == "bob" and query.get("password") == "s3cret &=+%"
        return 200, "allow impersonator monitoring" if good else "deny"
    if path == "/vhost":
        return 200, "allow" if query["vhost"] == "/" else "deny because"
    if path == "/topic":
        return 200, "allow" if query["routing_key"].startswith("bob.") else "deny"
    return 200, "allow" if "bob" in query["name"] or query["name"].startswith("amq.") else "deny"


def http_rights(broker, service, _):
    """Every question is asked with its parameters; what is denied is refused."""
    refused(broker, b"bob", b"wrong")
    refused(broker, b"guest", b"guest")
    link = Link(broker.address, TIMEOUT)
    link.start(b"bob", b"s3cret &=+%")
    link.tune()
    link.send_method(0, "connection.open", virtual_host=b"/")
    check(link.next_event(0).name == "connection.open-ok", "no open-ok")
    link.call(1, "channel.open")
    link.call(1, "queue.declare", queue=b"bob-queue")
    name = link.call(1, "queue.declare", exclusive=1).fields["queue"]
    check(name.startswith(b"amq.gen-"), f"got {name}")
    # Many things in one breath: what waits for the service is done in order.
    link.held = b""
    for i in range(3):
        publish(link, b"", b"bob-queue", b"%d" % i * 5000, user_id=b"impersonated")
    link.send_method(1, "queue.bind", queue=b"bob-queue", exchange=b"amq.topic", routing_key=b"bob.#")
    publish(link, b"amq.topic", b"bob.x", b"by topic")
    publish(link, b"", b"bob-queue", b"")
    link.release()
    check(link.next_event(1).name == "queue.bind-ok", "no bind-ok")
    for body in [b"0" * 5000, b"1" * 5000, b"2" * 5000, b"by topic", b""]:
        check(get(link, b"bob-queue") == body, f"not {body[:10]}")
    publish(link, b"amq.topic", b"other.x", b"")
    channel_refused(link, 1, b"access to topic 'other.x' in exchange 'amq.topic' in vhost '/' refused")
    link.send_method(1, "queue.declare", queue=b"alices")
    channel_refused(link, 1, b"access to queue 'alices' in vhost '/' refused for user 'bob'")
    link.send_method(1, "queue.declare", queue=b"alices", passive=1)
    channel_refused(link, 1, b"access to queue 'alices' in vhost '/' refused for user 'bob'")
    publish(link, b"alices", b"k", b"x" * 300000)
    channel_refused(link, 1, b"access to exchange 'alices' in vhost '/' refused for user 'bob'")
    check(get(link, b"bob-queue") is None, "something is there")
    link.call(1, "basic.consume", queue=b"bob-queue")
    link.call(2, "channel.open")
    link.call(2, "basic.consume", queue=b"bob-queue")
    link.call(0, "connection.update-secret", new_secret=b"means nothing here")
    link.close()
    asked = service.asked
    check(("/user", {"username": "bob", "password": "s3cret &=+%"}) in asked, f"{asked}")
    check(("/vhost", {"username": "bob", "vhost": "/", "ip": "127.0.0.1",
                      "tags": "impersonator monitoring"}) in asked, f"{asked}")
    check(("/resource", {"username": "bob", "vhost": "/", "resource": "exchange", "name": "amq.default",
                         "permission": "write", "tags": "impersonator monitoring"}) in asked, f"{asked}")
    check(("/topic", {"username": "bob", "vhost": "/", "resource": "topic", "name": "amq.topic",
                      "permission": "read", "tags": "impersonator monitoring", "routing_key": "bob.#",
                      "variable_map.username": "bob", "variable_map.vhost": "/"}) in asked, f"{asked}")
    link = Link(broker.address, TIMEOUT)
    link.start(b"bob", b"s3cret &=+%")
    link.tune()
    link.send_method(0, "connection.open", virtual_host=b"elsewhere")
    closed_with(link, 530, b"vhost elsewhere not found")
    check("s3cret" not in log_of(broker), "the log has the password")


def http_odd_answers(broker, service, _):
    """Nothing but a clear allow lets anybody in."""
    service.answer = lambda path, query: (200, "allow")
    refused(broker, b"bob", b"")
    check(service.asked == [], "a blank password was asked about")
    for status, text in [(500, "allow"), (204, ""), (404, "allow"), (200, ""), (200, "allowed"), (200, "yes"),
                         (200, "deny"), (200, "ALL OW"), (200, "x" * 100000), (302, "allow")]:
        service.answer = lambda path, query, reply=(status, text): reply
        refused(broker, b"bob", b"x")
    service.answer = lambda path, query: (201, " ALLOW Management \r\n")
    link = connect(broker, b"bob", b"x")
    service.answer = lambda path, query: (500, "allow")
    link.send_method(1, "queue.declare", queue=b"q")
    channel_refused(link, 1, b"access to queue 'q'")
    service.close()
    link.send_method(1, "queue.declare", queue=b"q")
    channel_refused(link, 1, b"access to queue 'q'")
    refused(broker, b"bob", b"x")
    link.close()


REASON = "not on Mondays: \u274c 100 %s"


def denied_with(reasons):
    """What is asked for is denied as `reasons` has it for its path and name, and allowed else."""
    return lambda path, query: (200, reasons.get((path, query.get("name", query.get("vhost"))), "allow"))


def http_reasons(broker, service, told):
    """What the service says behind deny is in the log, and told to clients if that is wanted; never why a
    login failed, and nothing that has the password in it or is no text."""
    service.answer = denied_with({
        ("/user", None): f"deny {REASON}", ("/vhost", "/"): f"deny {REASON}"})
    refused(broker, b"bob", b"s3cret")
    check(f"denied by the HTTP service: {REASON}" in log_of(broker), "the log has no reason")
    service.answer = denied_with({("/user", None): "deny s3cret is wrong"})
    refused(broker, b"eve", b"s3cret")
    check("s3cret" not in log_of(broker), "the log has the password")
    service.answer = denied_with({("/vhost", "/"): f"deny {REASON}"})
    by = f" by backend http: {REASON}".encode() if told else b""
    link = Link(broker.address, TIMEOUT)
    link.start(b"ann", b"s3cret")
    link.tune()
    link.send_method(0, "connection.open", virtual_host=b"/")
    ends_with(link.next_event_or_close(), b"NOT_ALLOWED - access to vhost '/' refused for user 'ann'" + by)
    link.drop()
    service.answer = denied_with({
        ("/resource", "q"): f"DENY \t {REASON} \r\n", ("/topic", "amq.topic"): f"deny {REASON}",
        ("/resource", "blank"): "deny", ("/resource", "long"): "deny " + "\u274c" * 200,
        ("/resource", "zero"): "deny a\0b", ("/resource", "noise"): "deny \udcff"})
    link = connect(broker, b"dan", b"s3cret")
    for name, reason in [(b"q", by), (b"blank", b""), (b"zero", b""), (b"noise", b""), (b"q", by)]:
        link.send_method(1, "queue.declare", queue=name, passive=int(name == b"q"))
        refusal = b"ACCESS_REFUSED - access to queue '%s' in vhost '/' refused for user 'dan'" % name
        ends_with(link.next_event(1), refusal + reason)
        reopen(link)
    link.send_method(1, "queue.declare", queue=b"long")
    text = link.next_event(1).fields["reply_text"]
    check(text.decode().endswith("\u274c..." if told else "user 'dan'"), f"got {text}")
    reopen(link)
    publish(link, b"amq.topic", b"k", b"")
    refusal = b"access to topic 'k' in exchange 'amq.topic' in vhost '/' refused for user 'dan'"
    ends_with(link.next_event(1), b"ACCESS_REFUSED - " + refusal + by)
    link.drop()


def ends_with(event, text):
    check(event.name.endswith(".close") and event.fields["reply_text"] == text, f"got {event}")


def reopen(link):
    link.send_method(1, "channel.close-ok")
    link.call(1, "channel.open")


def http_told(broker, service, _):
    http_reasons(broker, service, True)


def http_untold(broker, service, _):
    http_reasons(broker, service, False)


def http_slow(broker, service, _):
    """While the service thinks, others are served; what waits goes on when it answers."""
    bob = connect(broker, b"bob", b"s3cret &=+%")
    guest = connect(broker)
    service.hold()
    bob.send_method(1, "queue.declare", queue=b"bob-1")
    publish(bob, b"", b"bob-1", b"patience" * 50000)
    bob.send_method(1, "basic.get", queue=b"bob-1", no_ack=1)
    check(service.wait_for_request(TIMEOUT), "the service was not asked")
    late = Link(broker.address, TIMEOUT)
    late.start(b"bob", b"s3cret &=+%")
    gone = Link(broker.address, TIMEOUT)
    gone.start(b"bob", b"s3cret &=+%")
    check(service.wait_for_request(TIMEOUT) and service.wait_for_request(TIMEOUT), "nobody asked")
    gone.drop()
    for i in range(200):
        guest.call(1, "queue.declare", queue=b"guest-%d" % i, exclusive=1)
    check(not bob.events[1] and not late.events[0], "somebody did not wait")
    service.free()
    check(bob.next_event(1).name == "queue.declare-ok", "no declare-ok")
    check(bob.next_event(1).body == b"patience" * 50000, "the message is not there")
    late.tune()
    late.open()
    late.close()
    # A service that never answers ends a login at the handshake's time-out.
    service.hold()
    never = Link(broker.address, TIMEOUT)
    never.start(b"bob", b"s3cret &=+%")
    check(service.wait_for_request(TIMEOUT), "the service was not asked")
    never.wait_for_end(TIMEOUT)
    guest.call(1, "queue.declare", queue=b"still", exclusive=1)
    guest.close()
    bob.close()
    service.free()


def http_abandoned(broker, service, _):
    """Who goes before the service has answered counts as one who guessed wrong, and need not be answered."""
    service.hold()
    links = []
    for _ in range(120):  # 50 at a time: the others are thrown out
        link = Link(broker.address, TIMEOUT)
        link.start(b"bob", b"wrong")
        links.append(link)
    for link in links[:70]:
        link.wait_for_end(TIMEOUT)
    check("too many wrong passwords came from this address" in log_of(broker), "nobody was slowed down")
    service.free()
    link = Link(broker.address, TIMEOUT, source=("127.0.0.2", 0))
    link.start(b"bob", b"s3cret &=+%")
    link.tune()
    link.open(b"/")
    link.close()
    asked = sum(path == "/user" for path, _ in service.asked)
    check(asked < 45, f"the service was asked {asked} times")
    for link in links[70:]:
        link.drop()


def http_cached(broker, service, _):
    """Answers are kept for all connections; refusals and wrong passwords are not."""
    for _ in range(3):
        link = connect(broker, b"bob", b"s3cret &=+%")
        link.call(1, "queue.declare", queue=b"bob-queue")
        link.close()
    check(len(service.asked) == 3, f"asked {service.asked}")
    refused(broker, b"bob", b"wrong")
    refused(broker, b"bob", b"wrong")
    check(len(service.asked) == 5, f"asked {service.asked}")


def http_rights_only(broker, service, _):
    """Passwords are ours, rights are the service's."""
    service.answer = lambda path, query: (200, "allow") if query["username"] == "guest" else (200, "deny")
    link = connect(broker)
    link.call(1, "queue.declare", queue=b"q")
    link.close()
    refused(broker, b"guest", b"wrong")
    check(all(query.get("password", "guest") == "guest" for _, query in service.asked), f"{service.asked}")
    link, other = connect(broker), connect(broker)
    broker.ctl(["add_user", "another", "guest"])
    broker.ctl(["delete_user", "another"])
    link.call(1, "queue.declare", queue=b"q")
    broker.ctl(["delete_user", "guest"])
    for one in (link, other):
        closed_with(one, 320, b"user 'guest' is deleted")


def http_password_only(broker, service, _):
    """Passwords are the service's, rights are ours."""
    service.answer = lambda path, query: (200, "allow" if query["password"] == "other" else "deny")
    connect(broker, b"guest", b"other").close()
    refused(broker, b"guest", b"guest")
    refused(broker, b"unknown", b"other")
    check({path for path, _ in service.asked} == {"/user"}, f"{service.asked}")


def wrong_passwords(broker, *_):
    """Guessing gets slow; a right password still gets in; nothing of it is in the log."""
    started = time.monotonic()
    links = []
    for i in range(14):
        link = Link(broker.address, TIMEOUT)
        link.start(b"guest", b"wr0ng-%d" % i)
        links.append(link)
    for link in links:
        closed_with(link, 403, b"Login was refused")
    check(time.monotonic() - started >= 0.5, "a refusal came at once")
    connect(broker).close()
    log = log_of(broker)
    told = "user 'guest' - invalid credentials" in log
    check("wr0ng" not in log and told, "the log tells too much or too little")


def anonymous(broker, *_):
    link = Link(broker.address, TIMEOUT)
    event = link.start(b"", b"", mechanism=b"ANONYMOUS", response=b"trace@example")
    check(event.fields["mechanisms"] == b"PLAIN ANONYMOUS", f"got {event}")
    link.tune()
    link.open()
    link.close()
    refused(broker, b"", b"", mechanism=b"EXTERNAL", response=b"")
    refused(broker, b"", b"", mechanism=b"AMQPLAIN", response=b"")


def secrets(broker, *_):
    """A password from the configuration appears nowhere."""
    connect(broker, b"guest", b"p4ssw0rd").close()
    refused(broker, b"p4ssw0rd", b"wr0ng-one")
    refused(broker, b"guest", b"guest")
    command = pathlib.Path(f"/proc/{broker.process.pid}/cmdline").read_bytes()
    check(b"p4ssw0rd" not in command, "the process's title has the password")
    log = log_of(broker)
    check("wr0ng-one" not in log, "the log has a wrong password")
    check(log.count("p4ssw0rd") == log.count("user 'p4ssw0rd'") == 1, "the log has the password")


# --- tokens ---

KEYS = tempfile.TemporaryDirectory(prefix="leveret-keys-")
RSA, EC, STRANGER = (Key(KEYS.name, kind, name) for kind, name in
                     [("rsa", "first"), ("ec", "second"), ("rsa", "third")])
SCOPE = "rabbit.configure:*/q* rabbit.write:*/q* rabbit.write:*/amq.default rabbit.read:%2F/q*"
OAUTH2 = ["auth_backends.1=oauth2", "auth_backends.2=internal", "auth_oauth2.resource_server_id=rabbit",
          f"auth_oauth2.signing_keys.first={RSA.public}", f"auth_oauth2.signing_keys.second={EC.public}",
          "auth_oauth2.preferred_username_claims.1=nick"]


def claims(**more):
    made = {"aud": ["other", "rabbit"], "exp": int(time.time()) + 600, "nick": "carol", "sub": "c",
            "scope": SCOPE, **more}
    return {name: value for name, value in made.items() if value is not None}


def token_rights(broker, *_):
    for key in (RSA, EC):
        link = connect(broker, b"anything", key.token(claims()).encode())
        link.call(1, "queue.declare", queue=b"q")
        publish(link, b"", b"q", b"x")
        check(get(link, b"q") == b"x", "the message is not there")
        publish(link, b"amq.fanout", b"k", b"x")
        channel_refused(link, 1, b"access to exchange 'amq.fanout' in vhost '/' refused for user 'carol'")
        link.send_method(1, "queue.declare", queue=b"x")
        channel_refused(link, 1, b"access to queue 'x'")
        publish(link, b"", b"q", b"x", user_id=b"dave")
        check(link.next_event(1).fields["reply_code"] == 406, "user-id was not checked")
        link.close()
    wide = ["write:*/*", "read:*/*", "configure:*/*", "write:*/*/news.*", "tag:impersonator"]
    link = connect(broker, b"", RSA.token(claims(scope=["rabbit." + scope for scope in wide])).encode())
    link.call(1, "queue.declare", queue=b"q")
    publish(link, b"", b"q", b"x", user_id=b"dave")
    check(get(link, b"q") == b"x", "the impersonator's message is not there")
    publish(link, b"amq.topic", b"news.x", b"x")
    check(link.next_event(1).name == "basic.return", "no return")
    publish(link, b"amq.topic", b"old", b"x")
    channel_refused(link, 1, b"access to topic 'old' in exchange 'amq.topic'")
    link.send_method(1, "queue.bind", queue=b"q", exchange=b"amq.topic", routing_key=b"news.x")
    channel_refused(link, 1, b"access to topic 'news.x'")
    link.close()
    connect(broker).close()  # by the second backend
    link = Link(broker.address, TIMEOUT)
    link.start(b"", RSA.token(claims(scope="rabbit.read:elsewhere/*")).encode())
    link.tune()
    link.send_method(0, "connection.open", virtual_host=b"/")
    closed_with(link, 530, b"access to vhost '/' refused for user 'carol'")


def bad_tokens(broker, *_):
    head, payload, signature = RSA.token(claims()).split(".")
    none = b64(json.dumps({"alg": "none", "kid": "first"}).encode())
    forged = b64(json.dumps(claims(nick="root")).encode())
    # Whoever takes the public key for a secret would take this one.
    shared = b64(json.dumps({"alg": "HS256", "kid": "first"}).encode()) + "." + forged
    secret = pathlib.Path(RSA.public).read_bytes()
    shared += "." + b64(hmac.digest(secret, shared.encode(), "sha256"))
    for token in [RSA.token(claims(exp=int(time.time()) - 1)), RSA.token(claims(exp=None)),
                  RSA.token(claims(exp="soon")), RSA.token(claims(aud="other")), RSA.token(claims(aud=None)),
                  RSA.token(claims(nbf=int(time.time()) + 600)), RSA.token(claims(nbf="later")), shared,
                  RSA.token(claims(exp=True)), RSA.token(claims(exp=[int(time.time()) + 600])),
                  RSA.token(claims(aud={"rabbit": 1})), RSA.token([claims()]),
                  RSA.token(claims(), {"kid": "../" * 5 + RSA.public}),
                  RSA.token(claims(), {"kid": RSA.public}), RSA.token(claims(), {"kid": ["first"]}),
                  RSA.token(claims(), {"kid": "first\0"}),
                  STRANGER.token(claims(), {"kid": "stranger", "jwk": STRANGER.jwk()}),
                  STRANGER.token(claims()),
                  STRANGER.token(claims(), {"kid": "first"}), RSA.token(claims(), {"kid": "second"}),
                  RSA.token(claims(), {"kid": None}), RSA.token(claims(), {"alg": "HS256"}),
                  RSA.token(claims(), {"alg": "RS384"}), RSA.token(claims(), {"crit": ["exp"]}),
                  EC.token(claims(), {"alg": "ES384"}), f"{none}.{payload}.",
                  f"{none}.{payload}.{signature}", f"{head}.{forged}.{signature}", f"{head}.{payload}.",
                  f"{head}.{payload}", f"{head}.{payload}.{signature}.",
                  f"{head}.{payload}.{signature[:-2]}", "..", "a.b.c", "token"]:
        link = Link(broker.address, TIMEOUT)
        link.start(b"carol", token.encode())
        closed_with(link, 403, b"Login was refused")
    log = log_of(broker)
    check(payload not in log and signature not in log, "the log has a token")
    check("the token has expired" in log and "the token's signature is wrong" in log,
          "the log says too little")


def tokens_expire(broker, *_):
    short = connect(broker, b"", RSA.token(claims(exp=int(time.time()) + 3)).encode())
    link = connect(broker, b"", RSA.token(claims(exp=int(time.time()) + 3)).encode())
    link.call(1, "queue.declare", queue=b"q1")
    link.call(1, "basic.consume", queue=b"q1", consumer_tag=b"t")
    link.call(0, "connection.update-secret", new_secret=RSA.token(claims()).encode(), reason=b"renewed")
    closed_with(short, 320, b"CONNECTION_FORCED - credential expired")
    link.call(1, "queue.declare", queue=b"q1")
    narrow = RSA.token(claims(scope="rabbit.write:*/* rabbit.configure:*/*")).encode()
    link.call(0, "connection.update-secret", new_secret=narrow, reason=b"less")
    check(link.next_event(1).name == "basic.cancel", "the consumer reads on")
    link.send_method(1, "basic.get", queue=b"q1")
    channel_refused(link, 1, b"access to queue 'q1'")
    link.send_method(0, "connection.update-secret", new_secret=RSA.token(claims(nick="dave")).encode())
    closed_with(link, 530, b"New secret was refused by one of the backends")
    link = connect(broker, b"", RSA.token(claims()).encode())
    link.send_method(0, "connection.update-secret", new_secret=RSA.token(claims(aud="x")).encode())
    closed_with(link, 530, b"New secret was refused by one of the backends")
    link = connect(broker)  # of ours nothing expires
    link.call(0, "connection.update-secret", new_secret=b"x")
    link.close()


def many_consumers_stop(broker, *_):
    """All of them, wherever they are in the tables of their channels."""
    channels, each = range(2, 42), 6
    link = connect(broker, b"", RSA.token(claims()).encode())
    link.call(1, "queue.declare", queue=b"q1")
    link.call(1, "queue.declare", queue=b"q2")
    for channel in channels:
        link.call(channel, "channel.open")
        for i in range(each):
            link.call(channel, "basic.consume", queue=b"q%d" % (1 + i % 2))
    only_q2 = "rabbit.write:*/* rabbit.configure:*/* rabbit.read:%2F/q2"
    link.call(0, "connection.update-secret", new_secret=RSA.token(claims(scope=only_q2)).encode())
    for channel in channels:
        for _ in range(each // 2):
            event = link.next_event(channel)
            check(event.name == "basic.cancel", f"got {event}")
    check(link.call(1, "queue.declare", queue=b"q2").fields["consumer_count"] == each // 2 * len(channels),
          "consumers that may read are gone")
    link.close()


def key_set(broker, service, _):
    """Keys come from the key set; an unknown one makes it be fetched again, but not over and over."""
    keys = [RSA]
    service.answer = lambda path, query: (200, json.dumps({"keys": [key.jwk() for key in keys]}))
    connect(broker, b"", RSA.token(claims()).encode()).close()
    connect(broker, b"", RSA.token(claims()).encode()).close()
    check(len(service.asked) == 1, f"fetched {len(service.asked)} times")
    refused(broker, b"", STRANGER.token(claims()).encode())
    refused(broker, b"", STRANGER.token(claims()).encode())
    check(len(service.asked) <= 2, f"fetched {len(service.asked)} times")


def key_set_of_ec(broker, service, _):
    service.answer = lambda path, query: (200, json.dumps({"keys": [{"kty": "oct", "k": "x"}, EC.jwk()]}))
    connect(broker, b"", EC.token(claims()).encode()).close()


def key_set_missing(broker, service, _):
    service.answer = lambda path, query: (500, "")
    refused(broker, b"", EC.token(claims()).encode())


def made_of(refused_or_connected, broker, key, **more):
    token = key.token(claims(**more)).encode()
    return connect(broker, b"", token) if refused_or_connected == "in" else refused(broker, b"", token)


def many_servers(broker, service, _):
    """Each audience has keys of its own, and a key of one is none for the other."""
    one = made_of("in", broker, RSA, aud="rabbit-prod", scope="read:*/q* configure:*/q* write:*/*")
    one.call(1, "queue.declare", queue=b"q")
    one.close()
    two = made_of("in", broker, EC, aud=["x", "rabbit-dev"], scope=None, roles="developer", who="dora")
    two.send_method(1, "queue.declare", queue=b"q")
    channel_refused(two, 1, b"access to queue 'q' in vhost '/' refused for user 'dora'")
    two.call(1, "queue.declare", queue=b"dev-q")
    two.close()
    made_of("in", broker, EC, aud="rabbit-dev", exp=None, scope=None, roles="developer", who="d").close()
    made_of("out", broker, RSA, aud="rabbit-prod", exp=None)
    for key, aud in [(EC, "rabbit-prod"), (RSA, "rabbit-dev"), (STRANGER, "rabbit-dev"),
                     (RSA, "rabbit"), (RSA, None), (RSA, ["rabbit-prod", "rabbit-dev"])]:
        made_of("out", broker, key, aud=aud)
    asked = [question for question in service.asked if question[0].startswith("/realm")]
    check(asked == [("/realm/.well-known/openid-configuration", {"for": "leveret"})], f"{service.asked}")
    log = log_of(broker)
    check("audience is more than one of the resource servers" in log, "the log says too little")


def many_servers_settings(service):
    service.answer = lambda path, query: (200, json.dumps(
        {"keys": [EC.jwk()]} if path == "/certs" else {"issuer": "x", "jwks_uri": service.url("/certs")}))
    server, provider = "auth_oauth2.resource_servers", "auth_oauth2.oauth_providers"
    return ["auth_backends.1=oauth2", "auth_oauth2.preferred_username_claims.1=nick",
            f"{server}.1.id=rabbit-prod", f"{server}.1.scope_prefix=", f"{server}.1.oauth_provider_id=files",
            f"{server}.rabbit-dev.additional_scopes_key=roles",
            f"{server}.rabbit-dev.oauth_provider_id=realm", f"{server}.rabbit-dev.require_exp=false",
            f"{server}.rabbit-dev.preferred_username_claims.1=who",
            f"{server}.rabbit-dev.scope_aliases.developer=rabbit-dev.configure:*/dev-* rabbit-dev.tag:x",
            f"{provider}.files.signing_keys.first={RSA.public}", f"{provider}.files.algorithms.1=RS256",
            f"{provider}.realm.issuer={service.url('/realm/')}", f"{provider}.realm.algorithms.1=ES256",
            f"{provider}.realm.discovery_endpoint_params.for=leveret"]


def issuer_down(broker, service, _):
    """What an issuer says is asked for again when it was of no use; meanwhile nobody gets in."""
    for status, text in [(500, ""), (200, "{}"), (200, "x" * 2000000)]:
        service.answer = lambda path, query, reply=(status, text): reply
        made_of("out", broker, EC)
    check(len(service.asked) == 1, f"{service.asked}")  # the pause between two
    said = "the OpenID configuration cannot be fetched: status 500"
    check(said in log_of(broker), "the log says too little")


def verify_none_of_audience(broker, *_):
    made_of("in", broker, RSA, aud=None).close()
    made_of("in", broker, RSA, aud="whoever").close()
    made_of("out", broker, STRANGER, aud=None)


KEY_SET = ["auth_backends.1=oauth2", "auth_oauth2.resource_server_id=rabbit",
           "auth_oauth2.preferred_username_claims.1=nick"]


def cached(service):
    return [*http_settings(service, "cache"), "auth_cache.cached_backend=http", "auth_cache.cache_ttl=60000"]


def apart(authn, authz):
    return lambda service: [f"auth_backends.1.authn={authn}", f"auth_backends.1.authz={authz}",
                            *http_settings(service)[1:]]


def fetched(service):
    return [*KEY_SET, f"auth_oauth2.jwks_url={service.url('/keys')}"]


SCENARIOS = {
    "http_post": (http_rights, lambda service: http_settings(service)),
    "http_get": (http_rights, lambda service: http_settings(service, method="get")),
    "http_odd_answers": (http_odd_answers, lambda service: http_settings(service)),
    "http_untold": (http_untold, lambda service: http_settings(service)),
    "http_told": (http_told, lambda service: ["auth_http.authorization_failure_disclosure=true",
                                              *http_settings(service)]),
    "http_told_from_cache": (http_told, lambda service: [
        "auth_http.authorization_failure_disclosure=true", "auth_cache.cache_refusals=true",
        *cached(service)]),
    "http_slow": (http_slow, lambda service: ["auth_backends.2=internal", "handshake_timeout=3000",
                                              *http_settings(service)]),
    "http_abandoned": (http_abandoned, lambda service: ["handshakes_max=50", *http_settings(service)]),
    "http_cached": (http_cached, cached),
    "http_rights_only": (http_rights_only, apart("internal", "http")),
    "http_password_only": (http_password_only, apart("http", "internal")),
    "wrong_passwords": (wrong_passwords, lambda service: []),
    "anonymous": (anonymous, lambda service: ["auth_mechanisms.1=ANONYMOUS", "auth_mechanisms.2=EXTERNAL",
                                              "auth_mechanisms.3=PLAIN"]),
    "secrets": (secrets, lambda service: ["default_pass=p4ssw0rd"]),
    "token_rights": (token_rights, lambda service: OAUTH2),
    "bad_tokens": (bad_tokens, lambda service: OAUTH2),
    "tokens_expire": (tokens_expire, lambda service: OAUTH2),
    "many_consumers_stop": (many_consumers_stop, lambda service: OAUTH2),
    "key_set": (key_set, fetched),
    "key_set_of_ec": (key_set_of_ec, fetched),
    "key_set_missing": (key_set_missing, fetched),
    "many_servers": (many_servers, many_servers_settings),
    "issuer_down": (issuer_down, lambda service: [*KEY_SET, f"auth_oauth2.issuer={service.url('')}"]),
    "verify_none_of_audience": (verify_none_of_audience,
                                lambda service: [*OAUTH2, "auth_oauth2.verify_aud=false"]),
}


def run(name, path):
    scenario, settings = SCENARIOS[name]
    service = Service(rule)
    broker = Leveret(path, settings(service))
    try:
        broker.start()
        scenario(broker, service, name)
        broker.stop()
    except (Failure, BrokerFailed, OSError) as failure:
        print(f"FAIL {name}: {failure}", flush=True)
        print(broker.log_tail() if (broker.directory / "log").exists() else "")
        if broker.process and broker.process.poll() is None:
            broker.process.kill()
            broker.process.wait()
        return False
    finally:
        service.close()
    print(f"ok {name}", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description="Who gets in, by way of other backends.")
    parser.add_argument("--leveret", metavar="PATH", required=True)
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS], help="without any, all of them")
    options = parser.parse_args()
    results = [run(name, options.leveret) for name in options.scenarios or SCENARIOS]
    print(f"access: {results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
