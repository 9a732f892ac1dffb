"""service.py - what a broker asks about its users, made up: an HTTP service, and tokens signed by openssl."""
import base64
import http.server
import json
import pathlib
import subprocess
import threading
import urllib.parse


class Service:
    """An HTTP service on a free port of loopback. `answer(path, query)` returns (status, text); what was
    asked is kept in `asked`, the header Host in `hosts`. After `hold` requests wait for `free`. With `tls`, a
    context, it is https."""

    def __init__(self, answer, tls=None):
        self.answer, self.asked, self.hosts, self.tls = answer, [], [], tls
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Semaphore(0)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self, text):
                path, _, in_path = self.path.partition("?")
                query = dict(urllib.parse.parse_qsl(text or in_path, keep_blank_values=True))
                outer.asked.append((path, query))
                outer.hosts.append(self.headers["Host"])
                if not outer.gate.is_set():
                    outer.waiting.release()
                outer.gate.wait()
                status, body = outer.answer(path, query)
                data = body.encode(errors="surrogateescape")
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                self.reply("")

            def do_POST(self):
                self.reply(self.rfile.read(int(self.headers["Content-Length"])).decode())

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # a client that hung up

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True,
                                                 do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path, host="127.0.0.1"):
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def hold(self):
        self.gate.clear()

    def wait_for_request(self, timeout):
        """Until a request is being held."""
        return self.waiting.acquire(timeout=timeout)

    def free(self):
        self.gate.set()

    def close(self):
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=True).stdout


def cut_der(der):
    """The two numbers of an EC signature."""
    numbers, at = [], 2 if der[1] < 128 else 3
    for _ in range(2):
        size = der[at + 1]
        numbers.append(int.from_bytes(der[at + 2:at + 2 + size], "big"))
        at += 2 + size
    return numbers


class Key:
    """A key pair in files; kind is rsa or ec."""

    def __init__(self, folder, kind, key_id):
        self.kind, self.id = kind, key_id
        self.private = str(pathlib.Path(folder) / f"{key_id}.key")
        self.public = str(pathlib.Path(folder) / f"{key_id}.pem")
        how = ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"] if kind == "rsa" else \
              ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        openssl("genpkey", "-algorithm", *how, "-out", self.private)
        openssl("pkey", "-in", self.private, "-pubout", "-out", self.public)

    def token(self, claims, head=None):
        algorithm = "RS256" if self.kind == "rsa" else "ES256"
        head = {"alg": algorithm, "typ": "JWT", "kid": self.id, **(head or {})}
        head = {name: value for name, value in head.items() if value is not None}
        text = b64(json.dumps(head).encode()) + "." + b64(json.dumps(claims).encode())
        signature = openssl("dgst", "-sha256", "-sign", self.private, data=text.encode())
        if self.kind == "ec":
            signature = b"".join(number.to_bytes(32, "big") for number in cut_der(signature))
        return text + "." + b64(signature)

    def jwk(self):
        """The public key as it stands in a key set."""
        common = {"kid": self.id, "use": "sig"}
        text = openssl("pkey", "-in", self.private, "-noout", "-text").decode()
        if self.kind == "rsa":
            digits = text.split("modulus:")[1].split("publicExponent")[0]
            number = bytes.fromhex("".join(digits.split()).replace(":", "")).lstrip(b"\0")
            return {**common, "kty": "RSA", "n": b64(number), "e": "AQAB"}
        digits = text.split("pub:")[1].split("ASN1")[0]
        point = bytes.fromhex("".join(digits.split()).replace(":", ""))
        return {**common, "kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:65])}
