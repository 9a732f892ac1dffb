#!/usr/bin/env python3
"""run.py - TLS, PROXY headers and limits of connections, seen by clients: run.py --leveret PATH [scenario...]

Each scenario has a broker of its own; all share the certificates that certs.sh makes."""
import os
import pathlib
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
import warnings

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "wire"))
import amqp  # noqa: E402
from broker import BrokerFailed, Leveret, free_port  # noqa: E402
from certificates import cert, main  # noqa: E402
from link import PROTOCOL_HEADER, Failure, Link, check  # noqa: E402

TIMEOUT = 30

class TlsBroker(Leveret):
    """A leveret with a TLS listener beside the plain one."""

    def __init__(self, path, settings=(), pair="server"):
        super().__init__(path)
        self.tls_address = "127.0.0.1", free_port()
        self.settings = [f"listeners.ssl.1=127.0.0.1:{self.tls_address[1]}",
                         f"ssl_options.certfile={cert(pair + '.pem')}",
                         f"ssl_options.keyfile={cert(pair + '.key')}",
                         f"ssl_options.cacertfile={cert('ca.pem')}", "log.console.level=debug", *settings]

    def accepts(self):
        """The TLS listener is opened after the plain one."""
        try:
            socket.create_connection(self.tls_address, timeout=1).close()
            return super().accepts()
        except OSError:
            return False

    def log(self):
        return (self.directory / "log").read_text(errors="replace")

    def expect_log(self, text, count=1):
        deadline = time.monotonic() + TIMEOUT
        while self.log().count(text) < count:
            check(time.monotonic() < deadline, f"not in the log: {text}")
            time.sleep(0.01)


def context(client=None, **options):
    warnings.simplefilter("ignore", DeprecationWarning)  # of versions that are tried to be refused
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(cert("ca.pem"))
    made.check_hostname = options.get("check_hostname", True)
    if client:
        made.load_cert_chain(cert(client + ".pem"), cert(client + ".key"))
    if "version" in options:
        made.set_ciphers("ALL:@SECLEVEL=0")
        made.minimum_version = made.maximum_version = options["version"]
    return made


class TlsLink(Link):
    def __init__(self, address, tls=None, name="localhost", before=b"", session=None):
        super().__init__(address, TIMEOUT)
        if before:
            self.socket.sendall(before)
        try:
            self.socket = (tls or context()).wrap_socket(self.socket, server_hostname=name, session=session)
        except OSError:
            self.socket.close()
            raise


def log_in(link, user=b"guest"):
    link.start(user, b"guest")
    link.tune()
    link.open()
    link.call(1, "channel.open")
    return link


def publish(body, key, **flags):
    return amqp.publish_frames(1, {"exchange": b"", "routing_key": key, **flags}, amqp.write_properties({}),
                               body, 131072)


def use(link, body=b"hello"):
    """Publishes and gets."""
    link.call(1, "queue.declare", queue=b"used", auto_delete=1)
    link.send(publish(body, b"used"))
    got = link.call(1, "basic.get", queue=b"used", no_ack=1)
    check(got.body == body, f"{len(got.body)} bytes of {len(body)} came back")


def refused(broker, text, count=1, **how):
    """Neither the handshake nor what follows it works, and the log says why. With TLS 1.3 it is the first
    read that tells a client of its certificate."""
    try:
        link = TlsLink(broker.tls_address, **how)
        link.socket.sendall(PROTOCOL_HEADER)
        answer = link.socket.recv(100)
        link.drop()
    except OSError:
        answer = b""
    check(not answer, f"a client was let in that should be refused: {text}")
    broker.expect_log(text, count)


# ---- messages ----

def messages(broker):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        link = log_in(TlsLink(broker.tls_address, context(version=version)))
        for size in (0, 1, 1000, 16384, 16385, 300000, 10_000_000):
            use(link, os.urandom(size))
        link.close()
    broker.expect_log("TLSv1.2 ECDHE-ECDSA-")
    broker.expect_log("TLSv1.3 TLS_AES_256_GCM_SHA384")


def confirms(broker):
    """What waits for the disk is not sent before."""
    link = log_in(TlsLink(broker.tls_address))
    link.call(1, "queue.declare", queue=b"durable", durable=1)
    link.call(1, "confirm.select")
    for _ in range(50):
        link.send(amqp.publish_frames(1, {"exchange": b"", "routing_key": b"durable"},
                                      amqp.write_properties({"delivery_mode": 2}), b"x" * 1000, 131072))
    tag = 0
    while tag < 50:
        tag = link.next_event(1).fields["delivery_tag"]
    link.drop()
    broker.restart("kill")
    link = log_in(TlsLink(broker.tls_address))
    counted = link.call(1, "queue.declare", queue=b"durable", durable=1).fields["message_count"]
    check(counted == 50, f"{counted} of 50 confirmed messages are left")
    link.drop()


def pika_client(broker):
    try:
        import pika
    except ImportError:
        return
    parameters = pika.ConnectionParameters(
        "localhost", broker.tls_address[1], ssl_options=pika.SSLOptions(context("client"), "localhost"))
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.queue_declare("pika")
    bodies = [b"x" * size for size in (0, 10, 100_000, 1_000_000)] * 5
    for body in bodies:
        channel.basic_publish("", "pika", body)
    for wanted, (_, _, body) in zip(bodies, channel.consume("pika", auto_ack=True)):
        check(body == wanted, "another body")
    connection.close()


def half_close(broker):
    """Who ends its sending half still gets what was on its way, and close-ok."""
    link = log_in(TlsLink(broker.tls_address))
    body = os.urandom(9_000_000)
    link.call(1, "queue.declare", queue=b"half", auto_delete=1)
    link.send(publish(body, b"half"))
    while link.call(1, "queue.declare", queue=b"half", passive=1).fields["message_count"] == 0:
        pass
    link.send_method(1, "basic.get", queue=b"half", no_ack=1)
    link.send_method(0, "connection.close", reply_code=200)
    with socket.socket(fileno=os.dup(link.socket.fileno())) as beneath:
        beneath.shutdown(socket.SHUT_WR)
    check(link.next_event(1).body == body, "another body")
    check(link.next_event(0).name == "connection.close-ok", "no close-ok")
    link.wait_for_end(TIMEOUT)
    use(log_in(TlsLink(broker.tls_address)))


def many_small(broker):
    """A burst of small messages both ways."""
    link = log_in(TlsLink(broker.tls_address))
    link.call(1, "queue.declare", queue=b"small", auto_delete=1)
    link.call(1, "basic.consume", queue=b"small", no_ack=1)
    link.send(b"".join(publish(b"%d" % i, b"small") for i in range(20000)))
    for i in range(20000):
        check(link.next_event(1).body == b"%d" % i, f"message {i}")
    link.drop()


# ---- who may come ----

def verify_and_fail(broker):
    use(log_in(TlsLink(broker.tls_address, context("client"))))
    refused(broker, "peer did not return a certificate")
    refused(broker, "the client's certificate is refused: unable to get local issuer certificate",
            tls=context("stranger"))
    refused(broker, "the client's certificate is refused: certificate has expired", tls=context("late"))
    old = ssl.TLSVersion.TLSv1_2
    refused(broker, "peer did not return a certificate", 2, tls=context(version=old))
    refused(broker, "certificate has expired", 2, tls=context("late", version=old))
    use(log_in(TlsLink(broker.tls_address, context("revoked"))))  # nobody asked about that


def verify_only(broker):
    use(log_in(TlsLink(broker.tls_address)))
    use(log_in(TlsLink(broker.tls_address, context("client"))))
    refused(broker, "unable to get local issuer certificate", tls=context("stranger"))


def verify_none(broker):
    use(log_in(TlsLink(broker.tls_address)))
    use(log_in(TlsLink(broker.tls_address, context("stranger"))))


def revoked(broker):
    use(log_in(TlsLink(broker.tls_address, context("client"))))
    refused(broker, "the client's certificate is refused: certificate revoked", tls=context("revoked"))


def versions(broker):
    use(log_in(TlsLink(broker.tls_address, context(version=ssl.TLSVersion.TLSv1_2))))
    refused(broker, "TLS handshake failed: unsupported protocol", tls=context(version=ssl.TLSVersion.TLSv1_1))
    older = context(version=ssl.TLSVersion.TLSv1)
    refused(broker, "TLS handshake failed: unsupported protocol", 2, tls=older)


def only_1_3(broker):
    use(log_in(TlsLink(broker.tls_address)))
    refused(broker, "TLS handshake failed: unsupported protocol", tls=context(version=ssl.TLSVersion.TLSv1_2))


def ciphers(broker):
    link = log_in(TlsLink(broker.tls_address))
    check(link.socket.cipher()[:2] == ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.2"), str(link.socket.cipher()))
    use(link)
    other = context()
    other.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
    refused(broker, "TLS handshake failed: no shared cipher", tls=other)


def dhe(broker):
    """No parameters are configured: the group is as strong as the key of 2048 bits, at least."""
    done = subprocess.run(["openssl", "s_client", "-tls1_2", "-connect", "%s:%d" % broker.tls_address,
                           "-CAfile", cert("ca.pem")], input=b"", stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=TIMEOUT, check=False).stdout.decode()
    check("Cipher is DHE-RSA-AES256-GCM-SHA384" in done, done)
    bits = int(done.split("Server Temp Key: DH, ")[1].split(" ")[0])
    check(bits >= 2048, f"the group has {bits} bits")
    use(log_in(TlsLink(broker.tls_address, context(version=ssl.TLSVersion.TLSv1_2))))


def depth(broker):
    """Two authorities are between the client's certificate and ours: one too many here."""
    use(log_in(TlsLink(broker.tls_address, context("client"))))
    refused(broker, "the client's certificate is refused: certificate chain too long", tls=context("deep"))


def deep_enough(broker):
    use(log_in(TlsLink(broker.tls_address, context("deep"))))


def long_chain(broker):
    """More certificates than a chain may have octets are refused, whatever they are."""
    def shown(count):
        path = broker.directory / f"chain-{count}.pem"
        path.write_text(pathlib.Path(cert("client.pem")).read_text() +
                        pathlib.Path(cert("middle.pem")).read_text() * count)
        tls = context()
        tls.load_cert_chain(path, cert("client.key"))
        return tls
    use(log_in(TlsLink(broker.tls_address, shown(9))))
    try:
        link = TlsLink(broker.tls_address, shown(120))
        link.start(b"guest", b"guest")
        raise Failure("a chain of 50 KB was taken")
    except OSError:
        pass
    broker.expect_log("TLS handshake failed: excessive message size")


def tickets(broker):
    tls = context(version=ssl.TLSVersion.TLSv1_2)
    first = log_in(TlsLink(broker.tls_address, tls))
    check(first.socket.session.has_ticket, "no ticket was given")
    second = log_in(TlsLink(broker.tls_address, tls, session=first.socket.session))
    check(second.socket.session_reused, "the ticket was not taken")
    use(second)
    new = context(version=ssl.TLSVersion.TLSv1_3)
    first = log_in(TlsLink(broker.tls_address, new))
    use(first)
    check(log_in(TlsLink(broker.tls_address, new, session=first.socket.session)).socket.session_reused,
          "the ticket of TLS 1.3 was not taken")
    broker.end(signal.SIGTERM)
    broker.start()
    for what, tls, session in (("1.2", tls, second.socket.session), ("1.3", new, first.socket.session)):
        check(not log_in(TlsLink(broker.tls_address, tls, session=session)).socket.session_reused,
              f"TLS {what}: a ticket of the server before this one was taken: its key is no secret")


def no_tickets(broker):
    first = log_in(TlsLink(broker.tls_address, context(version=ssl.TLSVersion.TLSv1_2)))
    check(not first.socket.session.has_ticket, "a ticket was given")


def no_renegotiation(broker):
    command = ["openssl", "s_client", "-tls1_2", "-connect", "%s:%d" % broker.tls_address,
               "-CAfile", cert("ca.pem")]
    done = subprocess.run(command, input=b"R\nmore\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=TIMEOUT, check=False)
    check(b"RENEGOTIATING" in done.stdout, "openssl did not try to renegotiate")
    check(b"no renegotiation" in done.stdout or b"handshake failure" in done.stdout or done.returncode != 0,
          "the broker renegotiated")
    use(log_in(TlsLink(broker.tls_address)))


# ---- certificates ----

def shown(broker, name):
    tls = context(check_hostname=False)
    link = TlsLink(broker.tls_address, tls, name)
    subject = dict(pair[0] for pair in link.socket.getpeercert()["subject"])["commonName"]
    link.drop()
    return subject


def server_names(broker):
    for name, wanted in (("broker.example.com", "broker.example.com"),
                         ("BROKER.EXAMPLE.COM", "broker.example.com"),
                         ("a.wild.example.com", "broker.example.com"), ("localhost", "localhost"),
                         ("a.b.wild.example.com", "localhost"), ("wild.example.com", "localhost"),
                         (None, "localhost")):
        got = shown(broker, name)
        check(got == wanted, f"a client that asks for {name} sees {got}")


def reload(broker):
    """SIGHUP: others get the new certificate, connections stay; wrong files change nothing."""
    live = broker.directory / "live.pem", broker.directory / "live.key"

    def put(pair):
        for path, end in zip(live, ("pem", "key")):
            path.write_bytes(pathlib.Path(cert(f"{pair}.{end}")).read_bytes())

    put("server")
    broker.settings += [f"ssl_options.certfile={live[0]}", f"ssl_options.keyfile={live[1]}"]
    broker.end(signal.SIGTERM)
    broker.start()
    old = log_in(TlsLink(broker.tls_address))
    check(shown(broker, "localhost") == "localhost", "not the first certificate")
    put("sni")
    broker.process.send_signal(signal.SIGHUP)
    broker.expect_log("certificates and keys were read again")
    check(shown(broker, "localhost") == "broker.example.com", "not the second certificate")
    use(old, b"x" * 300000)
    for round_number, pair in enumerate(("expired", "server"), 1):
        put(pair)
        if pair == "server":
            live[1].write_text("no key")
        broker.process.send_signal(signal.SIGHUP)
        broker.expect_log("the old certificates stay in use", round_number)
        check(shown(broker, "localhost") == "broker.example.com", "a wrong certificate is in use")
    use(old)


START_ERRORS = [
    ({"certfile": "expired.pem", "keyfile": "expired.key"},
     "ssl_options.certfile = '{certfile}': the certificate has expired on 2021-01-01 00:00:00 UTC"),
    ({"certfile": "future.pem", "keyfile": "future.key"},
     "ssl_options.certfile = '{certfile}': the certificate is not valid before 2045-01-01 00:00:00 UTC"),
    ({"keyfile": "client.key"},
     "ssl_options.keyfile = '{keyfile}': this key is not the one of the certificate in '{certfile}'"),
    ({"certfile": "missing.pem"}, "ssl_options.certfile = '{certfile}': No such file or directory"),
    ({"keyfile": "missing.key"}, "ssl_options.keyfile = '{keyfile}': No such file or directory"),
    ({"certfile": "garbage.pem"}, "ssl_options.certfile = '{certfile}': no certificate in PEM form"),
    ({"certfile": "weak.pem", "keyfile": "weak.key"},
     "ssl_options.certfile = '{certfile}': the certificate cannot be used (ee key too small)"),
    ({"keyfile": "garbage.pem"}, "ssl_options.keyfile = '{keyfile}': no private key in PEM form"),
    ({"keyfile": "locked.key"},
     "ssl_options.keyfile = '{keyfile}': the key has a password and none is configured"),
    ({"keyfile": "locked.key", "password": "wrong"},
     "ssl_options.keyfile = '{keyfile}': the password does not open this key"),
    ({"cacertfile": "garbage.pem", "verify": "verify_peer"},
     "ssl_options.cacertfile = '{cacertfile}': no certificate in PEM form"),
    ({"cacertfile": "missing.pem", "verify": "verify_peer"},
     "ssl_options.cacertfile = '{cacertfile}': No such file or directory"),
    ({"verify": "verify_peer", "crl_check": "peer", "crlfile": "garbage.pem"},
     "ssl_options.crlfile = '{crlfile}': no revocation list in PEM form"),
    ({"sni_certfile.a": "sni.pem", "sni_keyfile.a": "server.key"},
     "ssl_options.sni_keyfile.a = '{sni_keyfile.a}': this key is not the one of the certificate"),
]


def start_errors(broker):
    """The broker that runs is not looked at: others fail to start."""
    for changes, text in START_ERRORS:
        options = {"certfile": "server.pem", "keyfile": "server.key", "cacertfile": "ca.pem", **changes}
        options = {key: cert(value) if value.endswith((".pem", ".key")) else value
                   for key, value in options.items()}
        command = [broker.path, "--data-dir", str(broker.directory / "other"),
                   "--set", "listeners.tcp=none", "--set", "listeners.ssl.1=127.0.0.1:0"]
        for key, value in options.items():
            command += ["--set", f"ssl_options.{key}={value}"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT, check=False)
        check(done.returncode == 1, f"status {done.returncode} with {changes}\n{done.stdout}")
        for key, value in options.items():
            text = text.replace("{" + key + "}", value)
        check(text in done.stdout, f"not said: {text}\n{done.stdout}")
        check(options.get("password", "?") not in done.stdout, "the password is in the log")


def password(broker):
    use(log_in(TlsLink(broker.tls_address)))


# ---- wrong protocol, too slow, too many ----

def answer_to(address, data):
    with socket.create_connection(address, timeout=TIMEOUT) as s:
        s.sendall(data)
        got = b""
        try:
            while part := s.recv(4096):
                got += part
        except ConnectionError:
            pass
        return got


def wrong_protocol(broker):
    plain, tls = broker.address, broker.tls_address
    hello = ssl.MemoryBIO()
    shaking = context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
    try:
        shaking.do_handshake()
    except ssl.SSLWantReadError:
        pass
    check(answer_to(tls, PROTOCOL_HEADER) == b"", "TLS port, AMQP")
    broker.expect_log("a plain AMQP client: this listener is a TLS one")
    check(answer_to(tls, b"GET / HTTP/1.1\r\n\r\n") == b"", "TLS port, HTTP")
    broker.expect_log("an HTTP request without TLS: this listener is a TLS one for AMQP")
    check(answer_to(tls, b"PROXY UNKNOWN\r\n") == b"", "TLS port, PROXY")
    broker.expect_log("a PROXY header, but proxy_protocol is not set")
    answer_to(tls, b"\x16\x03\x01\x00\x20" + b"\xff" * 32)
    broker.expect_log("TLS handshake failed: ")
    check(answer_to(tls, b"what?") == b"", "TLS port, something")
    broker.expect_log("no TLS hello, nor anything else that is known here")
    check(answer_to(plain, hello.read()) == PROTOCOL_HEADER, "plain port, TLS")
    broker.expect_log("a TLS hello: this listener is not a TLS one")
    check(answer_to(plain, b"GET / HTTP/1.1\r\n\r\n") == PROTOCOL_HEADER, "plain port, HTTP")
    broker.expect_log("an HTTP request")
    use(log_in(TlsLink(tls)))


def begin_handshake():
    """A client's end of TLS in memory, what it says first, and where to put what it hears."""
    heard, said = ssl.MemoryBIO(), ssl.MemoryBIO()
    end = context().wrap_bio(heard, said, server_hostname="localhost")
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return end, said.read(), heard


def odd_records(broker):
    """A hello in records of one octet is one; one without end is refused before it is whole."""
    end, hello, heard = begin_handshake()
    with socket.create_connection(broker.tls_address, timeout=TIMEOUT) as s:
        s.sendall(b"".join(b"\x16\x03\x01\0\1" + bytes([octet]) for octet in hello[5:]))
        while not end.version():
            heard.write(s.recv(65536))
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    with socket.create_connection(broker.tls_address, timeout=TIMEOUT) as s:
        try:
            s.sendall(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03" + bytes(16377))
            for _ in range(1000):
                s.sendall(b"\x16\x03\x01\x40\x00" + bytes(16384))
            raise Failure("16 MB of a hello were taken")
        except OSError:
            pass
    broker.expect_log("TLS handshake failed: excessive message size")
    use(log_in(TlsLink(broker.tls_address)))


def too_slow(broker):
    check(answer_to(broker.tls_address, b"") == b"", "a silent client")
    broker.expect_log("its TLS hello did not come in time (ssl_handshake_timeout)")
    check(answer_to(broker.tls_address, b"\x16\x03\x01\x02\x00\x01") == b"", "half a hello")
    broker.expect_log("its TLS handshake took too long (ssl_handshake_timeout)")
    use(log_in(TlsLink(broker.tls_address)))


def handshakes_max(broker):
    """The oldest of too many makes room, before TLS and after it; who is through is not disturbed."""
    inside = log_in(TlsLink(broker.tls_address))
    silent = [socket.create_connection(broker.tls_address, timeout=TIMEOUT) for _ in range(30)]
    broker.expect_log("too many connections are in their handshake, this is the oldest", 20)
    check(silent[0].recv(10) == b"", "the oldest is still there")
    silent = [Link(broker.address, TIMEOUT) for _ in range(30)]
    broker.expect_log("handshakes_max = 10 connections are in their handshake", 20)
    use(inside)
    use(log_in(TlsLink(broker.tls_address)))


def connection_max(broker):
    links = [log_in(TlsLink(broker.tls_address)), log_in(Link(broker.address, TIMEOUT))]
    third = Link(broker.address, TIMEOUT)
    third.start(b"guest", b"guest")
    third.tune()
    third.send_method(0, "connection.open", virtual_host=b"/")
    close = third.next_event(0)
    check(close.name == "connection.close" and close.fields["reply_code"] == 530 and
          b"node connection limit (2) is reached" in close.fields["reply_text"], str(close))
    links[0].close()
    use(log_in(TlsLink(broker.tls_address)))


def flood(broker):
    """Many at once, good ones and bad ones: the good ones get through, others are served meanwhile."""
    inside = log_in(TlsLink(broker.tls_address))
    bad = []
    for i in range(150):
        s = socket.create_connection(broker.tls_address, timeout=TIMEOUT)
        s.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(i * 3))
        bad.append(s)
    tls = context()
    for i in range(40):
        link = TlsLink(broker.tls_address, tls)
        link.drop()
        use(inside)
    for s in bad:
        s.close()
    use(log_in(TlsLink(broker.tls_address)))


# ---- behind a proxy ----

def v2(command=1, family=0x11, addresses=None, version=2):
    if addresses is None:
        addresses = b"\xc0\0\2\x09\xc0\0\2\1" + struct.pack(">HH", 7000, 5672)
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([version << 4 | command, family]) + \
        struct.pack(">H", len(addresses)) + addresses


V1 = b"PROXY TCP4 127.0.0.9 127.0.0.1 7000 5672\r\n"


class ProxiedLink(Link):
    def __init__(self, broker, header, drip=False):
        super().__init__(broker.address, TIMEOUT)
        for piece in [header[i:i + 1] for i in range(len(header))] if drip else [header]:
            self.socket.sendall(piece)


def proxy(broker):
    use(log_in(ProxiedLink(broker, V1)))
    broker.expect_log("accepting AMQP connection (127.0.0.9:7000 -> 127.0.0.1:5672)")
    use(log_in(TlsLink(broker.tls_address, before=V1)))
    broker.expect_log("accepting AMQP connection (127.0.0.9:7000 -> 127.0.0.1:5672), TLSv1.3")
    use(log_in(ProxiedLink(broker, V1, drip=True)))
    # guest is one of loopback_users, and comes from elsewhere.
    here = b"\xc0\0\2\x09\x7f\0\0\1" + struct.pack(">HH", 7000, 5672)
    for header in (v2(), b"PROXY TCP4 192.0.2.9 192.0.2.1 7000 5672\r\n",
                   v2(addresses=here), b"PROXY TCP4 192.0.2.9 127.0.0.1 7000 5672\r\n"):
        link = ProxiedLink(broker, header)
        link.start(b"guest", b"guest")
        close = link.next_event(0)
        check(close.fields.get("reply_code") == 403, str(close))
    broker.expect_log("(192.0.2.9:7000 -> 192.0.2.1:5672", 4)
    broker.expect_log("(192.0.2.9:7000 -> 127.0.0.1:5672", 4) # it comes to this machine, but not from it
    six = socket.inet_pton(socket.AF_INET6, "::1") * 2 + struct.pack(">HH", 7001, 5672)
    use(log_in(ProxiedLink(broker, v2(family=0x21, addresses=six + b"\x04\0\x03abc"))))
    broker.expect_log("accepting AMQP connection (::1:7001 -> ::1:5672)")
    use(log_in(ProxiedLink(broker, v2(command=0))))
    use(log_in(TlsLink(broker.tls_address, before=v2(command=0))))
    # The proxy is on this machine; from where they come, it does not know.
    for unknown in (v2(family=0, addresses=b""), v2(family=0x31, addresses=bytes(216)), b"PROXY UNKNOWN\r\n"):
        link = ProxiedLink(broker, unknown)
        link.start(b"guest", b"guest")
        close = link.next_event(0)
        check(close.fields.get("reply_code") == 403, str(close))


def proxy_malformed(broker):
    for header in (PROTOCOL_HEADER, b"PROXY TCP4 1.2.3.4\r\n",
                   b"PROXY TCP4 127.0.0.9 127.0.0.1 7000 99999\r\n",
                   b"PROXY TCP9 127.0.0.9 127.0.0.1 7000 5672\r\n", b"PROXY " + b"x" * 200, v2(version=3),
                   v2(command=7), v2(addresses=b"1234"),
                   v2(addresses=b"\xc0" * 65535), v2(family=0x12), b"\x16\x03\x01"):
        check(answer_to(broker.address, header) == b"", f"an answer to {header!r}")
        check(answer_to(broker.tls_address, header) == b"", f"an answer to {header!r}")
    broker.expect_log("a PROXY header is expected here (proxy_protocol = true), but", 22)
    check(answer_to(broker.address, b"PROXY TCP4") == b"", "half a header")
    broker.expect_log("its PROXY header did not come in time")
    use(log_in(ProxiedLink(broker, V1)))


def proxy_untrusted(broker):
    check(answer_to(broker.address, V1) == b"", "an untrusted proxy")
    broker.expect_log("it comes from no address of proxy_protocol_sources")


PEER = "ssl_options.verify=verify_peer"
FAIL = "ssl_options.fail_if_no_peer_cert=true"
def external(broker):
    """A certificate in place of a password: its name has to be a user's."""
    link = TlsLink(broker.tls_address, context("client"))
    event = link.start(b"", b"", mechanism=b"EXTERNAL", response=b"")
    check(event.fields["mechanisms"] == b"PLAIN EXTERNAL", f"got {event}")
    link.tune()
    link.open()
    link.close()
    for options in [{"client": "odd"}, {"client": "trick"}, {}]:
        link = TlsLink(broker.tls_address, context(**options))
        link.start(b"", b"", mechanism=b"EXTERNAL", response=b"")
        event = link.next_event_or_close()
        check(event.fields.get("reply_code") == 403, f"got {event}")
        link.drop()
    broker.expect_log("the client presented no certificate")
    plain = Link(broker.address, TIMEOUT)
    event = plain.start(b"", b"", mechanism=b"EXTERNAL", response=b"")
    check(event.fields["mechanisms"] == b"PLAIN", f"got {event}")
    check(plain.next_event_or_close().fields.get("reply_code") == 403, "EXTERNAL without TLS")
    plain.drop()


EXTERNAL = [PEER, "auth_mechanisms.1=PLAIN", "auth_mechanisms.2=EXTERNAL"]
BEST_EFFORT = "ssl_options.crl_check=best_effort"
EMAIL = ["ssl_cert_login_from=subject_alternative_name", "ssl_cert_login_san_type=email"]
SCENARIOS = {
    "external_name": (external, [*EXTERNAL, "ssl_cert_login_from=common_name"], {}),
    "external_subject": (external, [*EXTERNAL, "default_user=O=Leveret tests,CN=guest"], {}),
    "external_email": (external, [*EXTERNAL, *EMAIL, "default_user=guest@example.com"], {}),
    "messages": (messages, [], {}),
    "confirms": (confirms, [], {}),
    "pika_client": (pika_client, [PEER, FAIL], {}),
    "half_close": (half_close, [], {}),
    "many_small": (many_small, [], {}),
    "verify_and_fail": (verify_and_fail, [PEER, FAIL], {}),
    "verify_only": (verify_only, [PEER], {}),
    "verify_none": (verify_none, [], {}),
    "revoked": (revoked, [PEER, "ssl_options.crl_check=peer", "ssl_options.crlfile={ca.crl}"], {}),
    "revoked_or_unknown": (revoked, [PEER, BEST_EFFORT, "ssl_options.crlfile={ca.crl}"], {}),
    "external_unknown": (external, [*EXTERNAL, "ssl_cert_login_from=common_name", BEST_EFFORT,
                                    "ssl_options.crlfile={middle.crl}"], {}),
    "versions": (versions, [], {"pair": "rsa"}),
    "only_1_3": (only_1_3, ["ssl_options.versions.1=tlsv1.3"], {}),
    "ciphers": (ciphers, ["ssl_options.ciphers.1=ECDHE-ECDSA-AES128-GCM-SHA256"], {}),
    "dhe": (dhe, ["ssl_options.ciphers.1=DHE-RSA-AES256-GCM-SHA384", "ssl_options.versions.1=tlsv1.2"],
            {"pair": "rsa"}),
    "depth": (depth, [PEER, "ssl_options.depth=1"], {}),
    "deep_enough": (deep_enough, [PEER, "ssl_options.depth=2"], {}),
    "long_chain": (long_chain, [PEER], {}),
    "crl_of_all": (deep_enough, [PEER, "ssl_options.crl_check=true", "ssl_options.crlfile={all.crl}"], {}),
    "tickets": (tickets, [PEER], {}),
    "no_tickets": (no_tickets, ["ssl_options.reuse_sessions=false"], {}),
    "no_renegotiation": (no_renegotiation, [], {}),
    "server_names": (server_names, [
        r"ssl_options.sni_certfile.broker\.example\.com={sni.pem}",
        r"ssl_options.sni_keyfile.broker\.example\.com={sni.key}",
        r"ssl_options.sni_certfile.*\.wild\.example\.com={sni.pem}",
        r"ssl_options.sni_keyfile.*\.wild\.example\.com={sni.key}"], {}),
    "reload": (reload, [], {}),
    "start_errors": (start_errors, [], {}),
    "password": (password, ["ssl_options.keyfile={locked.key}", "ssl_options.password=secret"], {}),
    "wrong_protocol": (wrong_protocol, [], {}),
    "odd_records": (odd_records, [], {}),
    "too_slow": (too_slow, ["ssl_handshake_timeout=500"], {}),
    "handshakes_max": (handshakes_max, ["handshakes_max=10"], {}),
    "connection_max": (connection_max, ["connection_max=2"], {}),
    "flood": (flood, [], {"pair": "rsa"}),
    "proxy": (proxy, ["proxy_protocol=true"], {}),
    "proxy_malformed": (proxy_malformed, ["proxy_protocol=true", "handshake_timeout=500"], {}),
    "proxy_untrusted": (proxy_untrusted,
                        ["proxy_protocol=true", "proxy_protocol_sources.1=192.0.2.0/24"], {}),
}


def fill_in(setting):
    """{name} becomes the path of that file."""
    key, brace, name = setting.partition("{")
    return key + cert(name.rstrip("}")) if brace else setting


def run(name, path):
    scenario, settings, how = SCENARIOS[name]
    broker = TlsBroker(path, [fill_in(setting) for setting in settings], **how)
    try:
        broker.start()
        scenario(broker)
        broker.stop()
    except (Failure, BrokerFailed, OSError, KeyError, AttributeError) as failure:
        print(f"FAIL {name}: {type(failure).__name__} {failure}", flush=True)
        print(broker.log_tail() if (broker.directory / "log").exists() else "")
        if broker.process and broker.process.poll() is None:
            broker.process.kill()
            broker.process.wait()
        return False
    print(f"ok {name}", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main("tls", "TLS, PROXY headers and limits of connections.", SCENARIOS, run))
