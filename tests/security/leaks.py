#!/usr/bin/env python3
"""leaks.py - whether a secret gets out where it should not: leaks.py --leveret PATH

Passwords, tokens, passwords of keys and what services answer are known words here, one for each place. Each
is brought in by every way there is, right and wrong; then they are looked for, also in base64, hex and
backwards, in the log, the standard output, the process's title and environment, what leveretctl says, what
clients are told, what the event exchange says, and all files of the data directory.
"""
import argparse
import base64
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "wire"))
from broker import BrokerFailed, Leveret  # noqa: E402
from link import PROTOCOL_HEADER, Failure, Link, check  # noqa: E402
from service import Key, Service  # noqa: E402

TIMEOUT = 30
WORDS = {}  # what is secret, by a name for it
TOLD = []  # (by whom, bytes)


def secret(name):
    """A word that occurs nowhere else. It begins like no word of another."""
    return WORDS.setdefault(name, f"Zq{len(WORDS):02d}x{base64.b32encode(os.urandom(10)).decode()}")


def told(by, data):
    TOLD.append((by, data if isinstance(data, bytes) else data.encode()))


def looks(word):
    """The word as it is, and as others may write it; of base64 the middle."""
    data = word.encode()
    found = {data, data.hex().encode(), data.hex().upper().encode(), data[::-1]}
    for before in range(3):
        found.add(base64.b64encode(b"\0" * before + data)[4:-4])
    return found


class Told(Link):
    """Keeps what the server says."""

    def take_frame(self, kind, channel, payload):
        told("a client", bytes(payload))
        return super().take_frame(kind, channel, payload)


def connect(broker, user=b"guest", password=None):
    link = Told(broker.address, TIMEOUT)
    link.start(user, password or secret("default_pass").encode())
    link.tune()
    link.open()
    link.call(1, "channel.open")
    return link


def attempt(broker, mechanism, response, user=b"x"):
    """A login, however it ends; it has to end."""
    link = Told(broker.address, TIMEOUT)
    try:
        link.start(user, b"", mechanism=mechanism, response=response)
        link.next_event_or_close()
        link.drop()
    except (Failure, OSError):
        link.drop()


def raw(broker, data):
    link = Told(broker.address, TIMEOUT)
    try:
        link.send(PROTOCOL_HEADER)
        link.next_event(0)
        link.send(data)
        link.next_event_or_close()
    except (Failure, OSError):
        pass
    link.drop()


def wrong_logins(broker):
    word = secret("a password").encode()
    for user in (b"guest", b"nobody", b"bob\n" * 10):
        attempt(broker, b"PLAIN", b"\0" + user + b"\0" + word)
    for response in (word, b"\0" + word, word + b"\0guest\0" + word, b"\0guest" + word, b"\0\0" + word,
                     b"\0guest\0" + word + b"\0" + word, b"\0guest\0" + word * 60, b"\0guest\0\xff" + word,
                     b"\0guest\0" + word + b"%s%n\r\n"):
        attempt(broker, b"PLAIN", response)
        attempt(broker, b"AMQPLAIN", response)
        attempt(broker, b"ANONYMOUS", response)
        attempt(broker, b"EXTERNAL", response)
        attempt(broker, b"CRAM-MD5", response)
    table = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS" + len(word).to_bytes(4, "big") + word
    for response in (table, table[:-3], table + b"x", table.replace(b"LOGIN", b"LOGIC")):
        attempt(broker, b"AMQPLAIN", response)


def malformed_logins(broker):
    """start-ok that is cut, or whose lengths are wrong, with a password in it."""
    word = secret("a password in a frame").encode()
    body = b"\0\x0a\0\x0b" + b"\0\0\0\0" + b"\x05PLAIN" + b"\0\0\0\x60" + b"\0guest\0" + word
    for payload in (body, body + b"\x05en_US" + b"x" * 80, body.replace(b"PLAIN", b"PL\xffIN"),
                    b"\0\x0a\0\x63" + word, b"\0\x0a\0\x0b\0\0\0\x20" + word, word):
        for kind in (1, 2, 8, 9):
            frame = bytes([kind]) + b"\0\0" + len(payload).to_bytes(4, "big") + payload
            raw(broker, frame + b"\xce")
            raw(broker, frame + b"\0")


def tokens(broker, key):
    good = {"aud": "rabbit", "exp": 4000000000, "sub": "carol", "note": secret("a claim"),
            "scope": "rabbit.read:*/* rabbit.tag:" + secret("a scope")}
    whole = key.token(good).encode()
    head, payload, signature = whole.split(b".")
    others = [key.token({**good, **change}).encode() for change in ({"exp": 1}, {"aud": "x"}, {"exp": "x"})]
    for token in (whole[:-9], b".".join([head, payload, signature[::-1]]), *others,
                  b".".join([payload, head, signature]), key.token(good, {"kid": "unknown"}).encode()):
        attempt(broker, b"PLAIN", b"\0x\0" + token)
    WORDS.update({"a signature": signature[:40].decode(), "claims": payload[20:60].decode()})
    link = connect(broker)
    link.call(0, "connection.update-secret", new_secret=secret("a new secret").encode(), reason=b"so")
    link.close()


def services(broker, service):
    """A service that says secrets where it should answer."""
    word = secret("a service's answer")
    for status, text in [(200, word), (500, word), (200, "deny " + word), (200, "allow" + word), (302, word),
                         (200, word * 9000)]:
        service.answer = lambda path, query, reply=(status, text): reply
        attempt(broker, b"PLAIN", b"\0bob\0" + secret("a service's password").encode())
    check(len(service.asked) >= 6, f"the service was asked {len(service.asked)} times")


class Ctl:
    def __init__(self, path, broker):
        self.command = [path, "--socket", str(broker.directory / "data" / "leveret.sock")]

    def run(self, *words, text=""):
        done = subprocess.run([*self.command, *words], input=text, capture_output=True, text=True,
                              timeout=TIMEOUT, check=False)
        told(f"leveretctl {words[0]}", done.stdout + done.stderr)
        return done.returncode


def administration(ctl, broker):
    word = secret("a user's password")
    check(ctl.run("add_user", "alice", text=word) == 0, "add_user")
    ctl.run("add_user", "alice", text=word)
    ctl.run("add_user", "x" * 300, text=word)
    ctl.run("change_password", "alice", text=word + "2")
    ctl.run("change_password", "nobody", text=word)
    ctl.run("authenticate_user", "alice", text=word)
    ctl.run("authenticate_user", "alice", text=word + "2")
    ctl.run("add_user", "short", text=word[:5])
    ctl.run("set_permissions", "alice", ".*", ".*", ".*")
    ctl.run("hash_password", text=word)
    ctl.run("encode", "x", word)
    for verb in ("list_users", "list_connections", "list_permissions", "status", "environment", "report"):
        ctl.run(verb)
    ctl.run("export_definitions", "-")
    connect(broker, b"alice", (word + "2").encode()).close()


def definitions(ctl, folder):
    word = secret("a password in definitions")
    user = {"name": "carl", "password": word, "tags": ""}
    for users in ([user], [{**user, "tags": 5}], [{**user, "name": 5}], [{**user, "password": [word]}],
                  [{**user, "password_hash": word}], [{"name": "carl", "password_hash": word}],
                  [{**user, "hashing_algorithm": word}], [{**user, "limits": word}], [word], word):
        file = folder / "definitions.json"
        file.write_text(json.dumps({"users": users}))
        ctl.run("import_definitions", str(file))
    for text in ('{"users": [{"name": "c", "password": "%s" "x"}]}', '{"users": [{"password": "%s',
                 '{"users": [{"password": %s}]}', '%s'):
        file.write_text(text % word)
        ctl.run("import_definitions", str(file))


def configurations(leveret, folder):
    """Files and options that are refused, and those that are printed."""
    word = secret("a password in a configuration")
    file = folder / "wrong.conf"
    for text in ("default_pass = %s\nheartbeat = x", "default_pass %s", "default_pass %s = x",
                 "default_pas = %s", "%s", "= %s",
                 "default_pass = '%s", "default_pass = '%s' x", "default_pass = %s\x01",
                 "default_pass.x = %s", "ssl_options.password = %s$(x)", "ssl_options.sni_password.a = %s",
                 "default_users.a.password = %s",
                 "auth_http.user_path = https://u:%s@h/", "auth_http.user_path = https://u:%s@h/ x",
                 "auth_oauth2.issuer = ftp://u:%s@h/", "anonymous_login_pass = %s", "default_pass: %s",
                 "auth_http.ssl_options.password = %s"):
        file.write_text(text % word + "\n")
        for options in ([], ["--check-config"]):
            if not options and "=" in text and "heartbeat" not in text:
                continue  # it might start
            done = subprocess.run([leveret, "--config", str(file), *options], capture_output=True,
                                  timeout=TIMEOUT, check=False)
            told(f"a configuration with {text!r}", done.stdout + done.stderr)
    for setting in ("default_pass=%s\x01", "default_pas=%s", "%s", "=%s",
                    "auth_http.user_path=http://u:%s@h/ x"):
        done = subprocess.run([leveret, "--check-config", "--set", setting.replace("%s", word)],
                              capture_output=True, timeout=TIMEOUT, check=False)
        told(f"the option {setting!r}", done.stdout + done.stderr)
    file.write_text("data_dir = data\n")
    wrong = folder / "long.password"
    wrong.write_text(word * 40)
    done = subprocess.run([leveret, "--check-config", "--set", f"default_pass=file:{wrong}"],
                          capture_output=True, timeout=TIMEOUT, check=False)
    told("a password file", done.stdout + done.stderr)


def key_passwords(leveret, folder):
    """A key whose password is wrong, and the same for what is shown to the service."""
    word = secret("a key's password")
    key, certificate = folder / "locked.key", folder / "locked.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-passout", f"pass:{secret('another password')}", "-keyout", key, "-out", certificate,
                    "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True)
    for prefix, more in (("ssl_options.", ["listeners.ssl.1=127.0.0.1:0"]),
                         ("auth_http.ssl_options.", ["auth_backends.1=http"])):
        command = [leveret, "--data-dir", str(folder / "other"), "--set", "listeners.tcp.1=127.0.0.1:0"]
        for setting in [*more, f"{prefix}certfile={certificate}", f"{prefix}keyfile={key}",
                        f"{prefix}password={word}"]:
            command += ["--set", setting]
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
        check(done.returncode == 1, f"it started: {done.stdout}")
        told(f"a start with a wrong {prefix}password", done.stdout + done.stderr)


def listen(broker):
    """Everything that the event exchange says."""
    link = connect(broker)
    link.call(1, "exchange.declare", exchange=b"amq.rabbitmq.event", type=b"topic", durable=1, internal=1,
              passive=0)
    link.call(1, "queue.declare", queue=b"events", exclusive=1)
    link.call(1, "queue.bind", queue=b"events", exchange=b"amq.rabbitmq.event", routing_key=b"#")
    link.call(1, "basic.consume", queue=b"events", no_ack=1)
    return link


def search(broker):
    process = pathlib.Path(f"/proc/{broker.process.pid}")
    for name in ("cmdline", "comm", "environ"):
        told(f"/proc/PID/{name}", (process / name).read_bytes())
    for thread in (process / "task").iterdir():
        told("a thread's name", (thread / "comm").read_bytes())
    for file in [broker.directory / "log", *(broker.directory / "data").rglob("*"),
                 broker.directory / "leveret.log"]:
        if file.is_file():
            told(f"the file {file.name}", file.read_bytes())


def run_alone(leveret, place):
    """With users of our own only: no other backend's reason takes the place of ours."""
    broker = Leveret(leveret, [f"default_pass=file:{place / 'password'}", "auth_mechanisms.1=PLAIN",
                               "auth_mechanisms.2=AMQPLAIN", "log.console.level=debug",
                               "handshake_timeout=20000"])
    broker.start()
    try:
        wrong_logins(broker)
        malformed_logins(broker)
        broker.check_alive()
        broker.end(15)
        told("the log of one with users of its own", (broker.directory / "log").read_bytes())
    finally:
        if broker.process.poll() is None:
            broker.process.kill()
            broker.process.wait()


def run(leveret, ctl_path):
    folder = tempfile.TemporaryDirectory(prefix="leveret-secrets-")
    place = pathlib.Path(folder.name)
    key = Key(folder.name, "ec", "first")
    service = Service(lambda *_: (200, "deny"))
    (place / "password").write_text(secret("default_pass") + "\n")
    run_alone(leveret, place)
    broker = Leveret(leveret, [
        "auth_backends.1=internal", "auth_backends.2=http", "auth_backends.3=oauth2",
        "auth_oauth2.resource_server_id=rabbit", f"auth_oauth2.signing_keys.first={key.public}",
        *(f"auth_http.{kind}_path={service.url('/' + kind)}"
          for kind in ("user", "vhost", "resource", "topic")),
        f"default_pass=file:{place / 'password'}", f"anonymous_login_pass={secret('anonymous_login_pass')}",
        f"ssl_options.password={secret('ssl_options.password')}",
        f"auth_http.ssl_options.password={secret('auth_http.ssl_options.password')}",
        "auth_mechanisms.1=PLAIN", "auth_mechanisms.2=AMQPLAIN", "auth_mechanisms.3=ANONYMOUS",
        "credential_validator.validation_backend=rabbit_credential_validator_min_password_length",
        "credential_validator.min_length=8", "log.console.level=debug", "log.file.level=debug",
        "core_dumps=true", "initial_frame_max=65536", "handshake_timeout=20000"])
    broker.settings.append(f"log.file={broker.directory}/leveret.log")
    broker.start()
    try:
        events = listen(broker)
        wrong_logins(broker)
        malformed_logins(broker)
        tokens(broker, key)
        services(broker, service)
        ctl = Ctl(ctl_path, broker)
        administration(ctl, broker)
        definitions(ctl, place)
        configurations(broker.path, place)
        key_passwords(broker.path, place)
        events.call(2, "channel.open")
        happened = {str(event.fields["routing_key"]) for event in events.events[1]}
        check(any("user.authentication.failure" in name for name in happened), f"events are {happened}")
        search(broker)
        events.close()
        broker.check_alive()
        broker.end(15)
        told("the log at the end", (broker.directory / "log").read_bytes())
    finally:
        service.close()
        if broker.process.poll() is None:
            broker.process.kill()
            broker.process.wait()
    return broker


def report():
    found = 0
    for name, word in WORDS.items():
        for by, data in TOLD:
            for form in looks(word):
                at = data.find(form)
                if at >= 0:
                    text = re.sub(rb"[^ -~]", b".", data[max(0, at - 80):at + 40]).decode()
                    print(f"FAIL {name} is told by {by}: ...{text}...")
                    found += 1
                    break
    print(f"leaks: {len(WORDS) - min(found, len(WORDS))} passed, {found} failed; "
          f"{sum(len(data) for _, data in TOLD):,} bytes of {len(TOLD):,} were looked through")
    return found


def main():
    parser = argparse.ArgumentParser(description="Whether a secret gets out where it should not.")
    parser.add_argument("--leveret", metavar="PATH", required=True)
    options = parser.parse_args()
    try:
        broker = run(options.leveret, str(pathlib.Path(options.leveret).resolve().with_name("leveretctl")))
    except (Failure, BrokerFailed, OSError, subprocess.SubprocessError) as failure:
        print(f"FAIL {type(failure).__name__} {failure}\nleaks: 0 passed, 1 failed")
        return 1
    # The search itself: what is known to be in the log is found.
    check(any(b"login refused: user 'guest'" in data for by, data in TOLD if by == "the log at the end"),
          "the log says nothing of logins")
    result = 1 if report() else 0
    broker.temporary.cleanup()
    return result


if __name__ == "__main__":
    sys.exit(main())
