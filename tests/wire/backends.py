#!/usr/bin/env python3
"""backends.py - backends that are slow, down, talk nonsense, or are not who they should be:
backends.py --leveret PATH [scenario...]

Nobody gets in by them, whoever needs them not is served meanwhile, and the log says what was wrong.
"""
import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import amqp
from broker import BrokerFailed, Leveret, free_port
from certificates import cert, main
from link import PROTOCOL_HEADER, Failure, Link, check
from service import Key, Service

TIMEOUT = 30
QUESTIONS_MAX, MORE = 4096, 200
SECRET = b"s3cret-of-bob"
KEYS = tempfile.TemporaryDirectory(prefix="leveret-keys-")
FILED, FETCHED, STRANGER = (Key(KEYS.name, "ec", name) for name in ("filed", "fetched", "stranger"))

def token(key):
    return key.token({"aud": "rabbit", "exp": int(time.time()) + 600, "sub": "carol",
                      "scope": "rabbit.configure:*/* rabbit.read:*/* rabbit.write:*/*"}).encode()


def login(broker, user=b"guest", password=b"guest"):
    link = Link(broker.address, TIMEOUT)
    link.start(user, password)
    return link


def enter(link):
    link.tune()
    link.open()
    link.call(1, "channel.open")
    return link


def expect_refused(link):
    event = link.next_event_or_close()
    check(event.name == "connection.close" and event.fields["reply_code"] == 403, f"got {event}")
    check(b"Login was refused" in event.fields["reply_text"], f"got {event}")
    link.drop()


class Broker(Leveret):
    """Users that are here, and then those by HTTP, or by tokens whose keys are had by HTTP."""

    def __init__(self, path, kind, url, settings=()):
        super().__init__(path, ["auth_backends.1=internal", f"auth_backends.2={kind}",
                                "handshake_timeout=20000"])
        self.kind = kind
        if kind == "http":
            self.settings += ["auth_http.http_method=post", "auth_http.request_timeout=1000",
                              "auth_http.connection_timeout=1000"]
            self.settings += [f"auth_http.{what}_path={url}/{what}"
                              for what in ("user", "vhost", "resource", "topic")]
        else:
            self.settings += ["auth_oauth2.resource_server_id=rabbit", f"auth_oauth2.jwks_uri={url}/keys",
                              f"auth_oauth2.signing_keys.filed={FILED.public}"]
        self.settings += settings

    def ask(self):
        """The login of somebody whom only the service knows."""
        return login(self, b"bob", SECRET if self.kind == "http" else token(FETCHED))

    def expect_log(self, text, count=1):
        deadline = time.monotonic() + TIMEOUT
        while self.log_text().count(text) < count:
            check(time.monotonic() < deadline, f"not in the log: {text}")
            time.sleep(0.01)


def good(path, _):
    """What a service that is well answers."""
    return 200, json.dumps({"keys": [FETCHED.jwk()]}) if path == "/keys" else "allow"


@contextlib.contextmanager
def run_broker(path, kind, url, settings=()):
    broker = Broker(path, kind, url, settings)
    broker.start()
    try:
        yield broker
        check(SECRET.decode() not in broker.log_text(), "the log has the password")
        broker.stop()
    except (Failure, OSError):
        print(broker.log_tail())
        raise
    finally:
        if broker.process.poll() is None:
            broker.process.kill()
            broker.process.wait()


# ---- slow, down, nonsense ----

class Odd:
    """A service that does `behave` with each connection, in a thread of its own."""

    def __init__(self, behave):
        self.behave, self.requests, self.ended = behave, 0, threading.Event()
        self.asked = threading.Semaphore(0)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection):
        with connection:
            try:
                connection.recv(65536)
                self.requests += 1
                self.asked.release()
                self.behave(self, connection)
            except OSError:
                pass

    def close(self):
        self.ended.set()
        self.socket.close()


def says(text):
    return lambda service, connection: connection.sendall(text)


def says_nothing(service, _):
    service.ended.wait()


def drips(service, connection):
    """Something comes all the time, and it never ends."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not service.ended.wait(0.02):
        connection.sendall(b"a")


def drips_header(service, connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not service.ended.wait(0.02):
        connection.sendall(b"a")


def repeats(head, piece):
    """More and more, as fast as it is taken."""
    def behave(_, connection):
        connection.sendall(head)
        while True:
            connection.sendall(piece)
    return behave


HEAD = b"HTTP/1.1 200 OK\r\n"
ODD = {
    "says nothing": (says_nothing, "Timeout was reached"),
    "drips": (drips, "Timeout was reached"),
    "drips its header": (drips_header, "Timeout was reached"),
    "closes": (lambda *_: None, "Server returned nothing"),
    "closes within its answer": (says(HEAD + b"Content-Length: 100\r\n\r\nallow"), "partial file"),
    "closes within a chunk": (says(HEAD + b"Transfer-Encoding: chunked\r\n\r\n50\r\nallow"), "partial"),
    "closes between chunks": (says(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nallow\r\n"), ""),
    "says chunks that are none": (says(HEAD + b"Transfer-Encoding: chunked\r\n\r\nallow\r\n\r\n"), ""),
    "talks HTTP 0.9": (says(b"allow\n"), ""),
    "talks another protocol": (says(b"220 mail.example.com ESMTP\r\n"), ""),
    "talks noise": (says(bytes(range(256)) * 40), ""),
    "answers without an end": (repeats(HEAD + b"Content-Length: 99999999999\r\n\r\nallow ", b"x" * 65536),
                               "the answer is too long"),
    "answers in endless chunks": (repeats(HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
                                          b"10\r\nallow allow allo\r\n"), "the answer is too long"),
    "has endless headers": (repeats(HEAD, b"X-More: " + b"x" * 1000 + b"\r\n"), ""),
    "never gets past 100": (repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), ""),
    "allows with another status": (says(b"HTTP/1.1 500 Oh\r\nContent-Length: 5\r\n\r\nallow"), "status 500"),
    "has two minds": (says(HEAD + b"Content-Length: 6\r\n\r\nallow\0"), ""),
}


def odd_answer(path, kind, behave, said):
    service = Odd(behave)
    try:
        with run_broker(path, kind, service.url) as broker:
            guest = enter(login(broker))
            waiting = broker.ask()
            check(service.asked.acquire(timeout=TIMEOUT), "it was not asked")
            for i in range(100):
                guest.call(1, "queue.declare", queue=b"guest-%d" % i, exclusive=1)
            expect_refused(waiting)
            broker.expect_log(said)
            guest.call(1, "queue.declare", queue=b"still", exclusive=1)
            guest.close()
    finally:
        service.close()


def odd_answers(kind):
    def scenario(path):
        for name, (behave, said) in ODD.items():
            try:
                odd_answer(path, kind, behave, said)
            except (Failure, BrokerFailed) as failure:
                raise Failure(f"a service that {name}: {failure}") from failure
    return scenario


def nobody_there(path):
    """Nobody listens."""
    for kind in ("http", "oauth2"):
        with run_broker(path, kind, f"http://127.0.0.1:{free_port()}") as broker:
            expect_refused(broker.ask())
            broker.expect_log("Couldn't connect to server")
            enter(login(broker)).close()


def redirects(path):
    """A service that sends us elsewhere is not followed, wherever that is."""
    elsewhere = Service(good)
    for status in (301, 302, 303, 307, 308):
        answer = b"HTTP/1.1 %d Go\r\nLocation: %s\r\nContent-Length: 5\r\n\r\nallow" % (
            status, elsewhere.url("/keys").encode())
        for kind in ("http", "oauth2"):
            service = Odd(says(answer))
            with run_broker(path, kind, service.url) as broker:
                expect_refused(broker.ask())
                broker.expect_log(f"status {status}")
            service.close()
    check(not elsewhere.asked, f"followed to {elsewhere.asked}")
    elsewhere.close()


def proxies(path):
    """What the environment says of proxies is not gone by: they would see passwords."""
    proxy, service = Service(lambda *_: (200, "allow")), Service(good)
    names = [name for word in ("http_proxy", "https_proxy", "all_proxy") for name in (word, word.upper())]
    os.environ.update({name: proxy.url("") for name in names})
    try:
        for kind in ("http", "oauth2"):
            with run_broker(path, kind, service.url("")) as broker:
                enter(broker.ask()).close()
    finally:
        for name in names:
            del os.environ[name]
    check(service.asked and not proxy.asked, "the proxy was asked")
    service.close()
    proxy.close()


def known_keys_do_not_wait(path):
    """While a key set is fetched, those whose key is known get in, and those for whom it is fetched wait."""
    service = Service(good)
    service.hold()
    with run_broker(path, "oauth2", service.url("")) as broker:
        waiting = [login(broker, b"", token(FETCHED)), login(broker, b"", token(STRANGER))]
        check(service.wait_for_request(TIMEOUT), "the key set was not fetched")
        waiting += [login(broker, b"", token(key)) for key in (FETCHED, STRANGER, FETCHED)]
        for _ in range(3):
            enter(login(broker, b"", token(FILED))).close()
        service.free()
        for i in (0, 2, 4):
            enter(waiting[i]).close()
        for i in (1, 3):
            expect_refused(waiting[i])
        check(len(service.asked) == 1, f"asked {len(service.asked)} times")
    service.close()


# ---- certificates ----

def https(server, client=None, version=None):
    """What the service shows; `client`: it asks us for a certificate of that authority."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(cert(server + ".pem"), cert(server + ".key"))
    if client:
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(cert(client))
    if version:
        made.minimum_version = made.maximum_version = version
    return made


KEYS_OF = {"http": "auth_http.ssl_options.", "oauth2": "auth_oauth2.https."}
REFUSED = "its certificate is refused: "
REVOKED = {"crl_check": "peer", "crlfile": "{ca.crl}"}
# What the service shows, under which name it is asked, the options; None = in, else what the log says.
CERTIFICATES = [
    ("server", "localhost", {}, None),
    ("server", "127.0.0.1", {}, None),
    ("server", "localhost", {"cacertfile": "{other.pem}"}, REFUSED + "unable to get local issuer"),
    ("server", "localhost", {"cacertfile": "{other.pem}", "verify": "verify_none"}, None),
    ("expired", "localhost", {}, REFUSED + "certificate has expired"),
    ("future", "localhost", {}, REFUSED + "certificate is not yet valid"),
    ("sni", "localhost", {}, REFUSED + "it is another host's"),
    ("sni", "localhost", {"hostname_verification": "none"}, REFUSED + "hostname mismatch"),
    ("sni", "localhost", {"verify": "verify_none"}, None),
    ("wild", "a.wild.localhost", {}, None),
    ("wild", "a.wild.localhost", {"hostname_verification": "none"}, REFUSED + "hostname mismatch"),
    ("server", "localhost", {"hostname_verification": "none"}, None),
    ("server", "127.0.0.1", {"hostname_verification": "none"}, None),
    ("deep", "localhost", {"depth": "2"}, None),
    ("deep", "localhost", {"depth": "1"}, REFUSED + "certificate chain too long"),
    ("gone", "localhost", {}, None),
    ("gone", "localhost", REVOKED, REFUSED + "certificate revoked"),
    ("server", "localhost", REVOKED, None),
    ("deep", "localhost", REVOKED, REFUSED + "unable to get certificate CRL"),
    ("deep", "localhost", {**REVOKED, "crl_check": "best_effort"}, None),
    ("gone", "localhost", {**REVOKED, "crl_check": "best_effort"}, REFUSED + "certificate revoked"),
    ("deep", "localhost", {**REVOKED, "crlfile": "{lower.crl}"}, None),
    ("deep", "localhost", {"crl_check": "true", "crlfile": "{lower.crl}"}, REFUSED + "unable to get certi"),
    ("deep", "localhost", {"crl_check": "true", "crlfile": "{all.crl}"}, None),
]


def fill_in(options, kind):
    options = {name: cert(value.strip("{}")) if value.startswith("{") else value
               for name, value in {"cacertfile": "{ca.pem}", **options}.items()}
    return [f"{KEYS_OF[kind]}{name}={value}" for name, value in options.items()]


def ask_by_https(path, kind, service, host, options, said):
    with run_broker(path, kind, service.url("", host), fill_in(options, kind)) as broker:
        if said:
            expect_refused(broker.ask())
            broker.expect_log(said)
            check(not service.asked, "something was said to it")
        else:
            enter(broker.ask()).close()
            check(service.asked, "it was not asked")


def certificates(kind):
    def scenario(path):
        for server, host, options, said in CERTIFICATES:
            service = Service(good, https(server))
            try:
                ask_by_https(path, kind, service, host, options, said)
            except (Failure, BrokerFailed) as failure:
                raise Failure(f"{server} as {host} with {options}: {failure}") from failure
            finally:
                service.close()
    return scenario


def own_certificate(path):
    """The service wants a certificate of ours, too."""
    shown = {"certfile": "{client.pem}", "keyfile": "{client.key}"}
    locked = {"certfile": "{server.pem}", "keyfile": "{locked.key}", "password": "secret"}
    for options, said in [({}, "the HTTP service gave no answer"), (shown, None), (locked, None)]:
        service = Service(good, https("server", client="ca.pem"))
        ask_by_https(path, "http", service, "localhost", options, said)
        service.close()


def versions(path):
    for server, options, said in [(ssl.TLSVersion.TLSv1_2, {}, None),
                                  (ssl.TLSVersion.TLSv1_2, {"versions.1": "tlsv1.3"}, "no answer"),
                                  (ssl.TLSVersion.TLSv1_3, {"versions.1": "tlsv1.2"}, "no answer"),
                                  (ssl.TLSVersion.TLSv1_3, {"versions.1": "tlsv1.3"}, None)]:
        service = Service(good, https("server", version=server))
        ask_by_https(path, "http", service, "localhost", options, said)
        service.close()


def names(path):
    """Which name is said, and which the certificate has to be for. The address stays what it was."""
    for server, options, name, said in [
            ("server", {}, "localhost", None),
            ("server", {"sni": "none"}, None, None),
            ("sni", {"sni": "none"}, None, REFUSED + "it is another host's"),
            ("sni", {"sni": "broker.example.com"}, "broker.example.com", None),
            ("sni", {"sni": "any.wild.example.com"}, "any.wild.example.com", None),
            ("sni", {"sni": "any.wild.example.com", "hostname_verification": "none"}, "any.wild.example.com",
             REFUSED + "hostname mismatch"),
            ("sni", {"sni": "broker.example.org"}, "broker.example.org", REFUSED + "it is another host's"),
            ("server", {"sni": "an.example.com"}, "an.example.com", REFUSED + "it is another host's")]:
        heard = []
        tls = https(server)
        tls.sni_callback = lambda _, told, __, heard=heard: heard.append(told)
        service = Service(good, tls)
        ask_by_https(path, "http", service, "localhost", options, said)
        check(set(heard) == {name}, f"{server} with {options} heard {heard}")
        check(set(service.hosts) <= {f"localhost:{service.port}"}, f"{service.hosts} was asked")
        service.close()


AES128, AES256 = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"


def ciphers(path):
    old, new = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    for version, options, said in [
            (old, {"ciphers.1": AES128}, None), (old, {"ciphers.1": AES256}, "no answer"),
            (old, {"ciphers.1": AES256, "ciphers.2": AES128}, None),
            (old, {"ciphers.1": "TLS_AES_128_GCM_SHA256"}, "no answer"),
            (new, {"ciphers.1": "TLS_AES_128_GCM_SHA256"}, None), (new, {"ciphers.1": AES128}, "no answer"),
            (new, {"ciphers.1": "TLS_AES_128_GCM_SHA256", "ciphers.2": AES128}, None)]:
        tls = https("server", version=version)
        tls.set_ciphers(AES128)
        service = Service(good, tls)
        ask_by_https(path, "http", service, "localhost", options, said)
        service.close()


def no_tls_there(path):
    """Behind an https address is somebody who talks HTTP, or noise, or nothing: no password is sent."""
    heard = []

    def listens(text):
        def behave(service, connection):
            connection.sendall(text)
            while part := connection.recv(65536):
                heard.append(part)
        return behave

    for text in (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nallow", b"\x16\x03\x03" + b"x" * 100, b""):
        for kind in ("http", "oauth2"):
            service = Odd(listens(text))
            with run_broker(path, kind, service.url.replace("http:", "https:"), fill_in({}, kind)) as broker:
                expect_refused(broker.ask())
            service.close()
    check(SECRET not in b"".join(heard), "the password was sent in clear")


START_ERRORS = [
    ({"cacertfile": "{missing.pem}"}, "cacertfile = '{missing.pem}': No such file or directory"),
    ({"cacertfile": "{garbage.pem}"}, "cacertfile = '{garbage.pem}': no certificate in PEM form"),
    ({"crl_check": "peer", "crlfile": "{missing.crl}"}, "crlfile = '{missing.crl}': No such file"),
    ({"crl_check": "peer", "crlfile": "{garbage.pem}"}, "crlfile = '{garbage.pem}': no revocation list"),
    ({"crl_check": "peer"}, "crl_check needs "),
]
OWN_ERRORS = [
    ({"certfile": "{missing.pem}"}, "certfile = '{missing.pem}': No such file or directory"),
    ({"certfile": "{client.pem}", "keyfile": "{server.key}"},
     "keyfile = '{server.key}': key values mismatch"),
    ({"certfile": "{server.pem}", "keyfile": "{locked.key}"}, "keyfile = '{locked.key}': "),
    ({"certfile": "{server.pem}", "keyfile": "{locked.key}", "password": "wr0ng"},
     "keyfile = '{locked.key}'"),
    ({"keyfile": "{server.key}"}, "keyfile needs "),
    ({"ciphers.1": "TLS_AES_128_GCM_SHA256", "versions.1": "tlsv1.2"},
     "auth_http.ssl_options.ciphers = 'TLS_AES_128_GCM_SHA256': none of these is a cipher of the versions"),
    ({"ciphers.1": "NONESUCH"}, "OpenSSL knows no such cipher"),
]


def start_errors(path):
    """What can be known at the start stops it, and the sentence names the key."""
    for kind, errors in (("http", START_ERRORS + OWN_ERRORS), ("oauth2", START_ERRORS)):
        for options, said in errors:
            broker = Broker(path, kind, "https://localhost:1", fill_in(options, kind))
            command = [broker.path, "--data-dir", str(broker.directory / "data")]
            for setting in [*broker.listeners(), *broker.settings]:
                command += ["--set", setting]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=TIMEOUT, check=False)
            told = done.stdout + done.stderr
            for name in ("missing.pem", "garbage.pem", "missing.crl", "locked.key", "server.key"):
                said = said.replace("{" + name + "}", cert(name))
            check(done.returncode == 1 and said in told, f"{kind} with {options}: not {said} in {told}")
            check("wr0ng" not in told, "the password is told")


# ---- clients that do not wait ----

def say_login(broker, user, password):
    """A client that says all it has to say at once."""
    link = Link(broker.address, TIMEOUT)
    fields = {"client_properties": [], "mechanism": b"PLAIN", "response": b"\0" + user + b"\0" + password,
              "locale": b"en_US"}
    link.send(PROTOCOL_HEADER +
              amqp.write_frame(amqp.METHOD, 0, amqp.write_method("connection.start-ok", fields)))
    return link


def too_many_questions(path):
    """More logins than questions can wait: those are refused, and others are served."""
    service = Odd(says_nothing)
    settings = ["handshakes_max=20000", "auth_http.request_timeout=600000", "handshake_timeout=600000"]
    try:
        with run_broker(path, "http", service.url, settings) as broker:
            guest = enter(login(broker))
            waiting = [say_login(broker, b"bob", SECRET) for _ in range(QUESTIONS_MAX + MORE)]
            broker.expect_log("has 4096 questions to answer already")
            guest.call(1, "queue.declare", queue=b"guest", exclusive=1)
            for link in waiting:
                link.drop()
    finally:
        service.close()


def leaves_meanwhile(path):
    """The token is good, whoever knows its rights has not answered yet, and the client goes."""
    service = Odd(says_nothing)
    broker = Broker(path, "http", service.url)
    broker.settings += ["auth_backends.2.authn=oauth2", "auth_backends.2.authz=http",
                        "auth_oauth2.resource_server_id=rabbit", "auth_http.request_timeout=60000",
                        f"auth_oauth2.signing_keys.filed={FILED.public}"]
    broker.settings.remove("auth_backends.2=http")
    broker.start()
    try:
        for _ in range(3):  # each keeps a thread busy
            link = say_login(broker, b"carol", token(FILED))
            check(service.asked.acquire(timeout=TIMEOUT), "nobody was asked for rights")
            link.drop()
        enter(login(broker)).drop()
    finally:
        service.close()
        broker.stop()


SCENARIOS = {
    "odd_answers_http": odd_answers("http"), "odd_answers_oauth2": odd_answers("oauth2"),
    "nobody_there": nobody_there, "redirects": redirects, "proxies": proxies,
    "known_keys_do_not_wait": known_keys_do_not_wait, "certificates_http": certificates("http"),
    "certificates_oauth2": certificates("oauth2"), "own_certificate": own_certificate, "versions": versions,
    "names": names, "ciphers": ciphers, "too_many_questions": too_many_questions,
    "leaves_meanwhile": leaves_meanwhile,
    "no_tls_there": no_tls_there, "start_errors": start_errors}


def run(name, path):
    try:
        SCENARIOS[name](path)
    except (Failure, BrokerFailed, OSError) as failure:
        print(f"FAIL {name}: {failure}", flush=True)
        return False
    print(f"ok {name}", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main("backends", "Backends that are slow, down, or not who they should be.", SCENARIOS, run))
