"""A receiver of webhooks that verifies each on arrival, with every verifier there is for this language."""

import atexit
import base64
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import standardwebhooks
import svix.webhooks
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from svix.api import EndpointIn

import sdk

VERIFIERS = [svix.webhooks.Webhook, standardwebhooks.Webhook]
NAMES = ["id", "timestamp", "signature"]


atexit.register(
    lambda: print(f"{Inbox.verified} webhooks arrived, each verified by svix and by standardwebhooks")
)


def new_secret():
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def new_key_pair():
    """A secret for ed25519, and what verifies with it."""
    pair = Ed25519PrivateKey.generate()
    seed, public = pair.private_bytes_raw(), pair.public_key().public_bytes_raw()
    return ["whsk_" + base64.b64encode(seed + public).decode(), "whpk_" + base64.b64encode(public).decode()]


class Hook:
    """A webhook that arrived. Names of headers are in lower case."""

    def __init__(self, headers, body):
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body
        self.id = self.headers["webhook-id"]


class Inbox:
    """A path of the receiver, what arrived there, and what it answers: `answer(n, hook)` for the nth, from 0."""

    all = {}
    verified = 0

    def __init__(self, answer=lambda n, hook: (204, {}, b"")):
        self.path = f"/{sdk.unique('inbox')}"
        self.answer = answer
        self.secrets = []
        self.arrived = []
        self.news = threading.Condition()
        Inbox.all[self.path] = self

    @property
    def url(self):
        return f"http://127.0.0.1:{_server.server_port}{self.path}"

    def take(self, hook):
        with self.news:
            try:
                for secret in self.secrets:
                    check(secret, hook)
                Inbox.verified += 1
            except Exception as error:
                sdk.faults.append(f"{hook.id}: {error!r}")
            answer = self.answer(len(self.arrived), hook)
            self.arrived.append(hook)
            self.news.notify_all()
        return answer

    def wait(self, count):
        """Waits until `count` webhooks have arrived, and gives them."""
        with self.news:
            if not self.news.wait_for(lambda: len(self.arrived) >= count, timeout=10):
                raise AssertionError(f"{len(self.arrived)} of {count} webhooks arrived")
            return list(self.arrived)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        status, headers, answer = Inbox.all[self.path].take(Hook(self.headers.items(), body))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


_server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
_server.daemon_threads = True
threading.Thread(target=_server.serve_forever, daemon=True).start()


def new_endpoint(app, answer=None, **more):
    """An endpoint whose webhooks arrive in an inbox and are verified there."""
    inbox = Inbox(answer) if answer else Inbox()
    more.setdefault("secret", new_secret())
    if more["secret"].startswith("whsec_"):
        inbox.secrets = [more["secret"]]
    return sdk.svix.endpoint.create(app.id, EndpointIn(**{"url": inbox.url, **more})), inbox


def check(secret, hook):
    """Verifies a webhook by both families of headers, and sees that the same verifiers refuse a changed one."""
    for family in ["svix", "webhook"]:
        signed = {f"{family}-{name}": hook.headers[f"{family}-{name}"] for name in NAMES}
        VERIFIERS[0](secret).verify(hook.body, signed)
        standard = {name.replace("svix-", "webhook-"): value for name, value in signed.items()}
        VERIFIERS[1](secret).verify(hook.body, standard, json_parse=False)
    check_refused(secret, hook.body + b" ", hook.headers)


def check_refused(secret, body, headers):
    """Sees that no verifier takes this."""
    for verifier in VERIFIERS:
        try:
            verifier(secret).verify(body, headers)
        except svix.webhooks.WebhookVerificationError as error:
            if "No matching signature" in str(error):
                continue
            raise
        raise AssertionError(f"{verifier} took what it had to refuse")


def ed25519_signatures(public_key, hook, body=None):
    """The `v1a` signatures of a webhook that a public key (`whpk_...`) verifies."""
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_")))
    signed = f"{hook.id}.{hook.headers['webhook-timestamp']}.".encode() + (
        hook.body if body is None else body
    )
    good = []
    for text in hook.headers["webhook-signature"].split(" "):
        version, _, signature = text.partition(",")
        if version != "v1a":
            continue
        try:
            key.verify(base64.b64decode(signature), signed)
            good.append(signature)
        except InvalidSignature:
            pass
    return good
