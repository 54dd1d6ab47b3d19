from datetime import datetime, timedelta, timezone

from svix.api import (
    EndpointGetStatsOptions,
    EndpointIn,
    EndpointRecoverOptions,
    EndpointSecretRotateIn,
    EndpointSendExampleOptions,
    EventExampleIn,
    EventTypeIn,
    RecoverIn,
)

import receiver
from receiver import Inbox, check_refused, ed25519_signatures, new_endpoint, new_key_pair, new_secret
from sdk import Case, eventually, new_app, send, svix, unique


class Deliveries(Case):
    def test_a_webhook_is_signed_by_both_families_of_headers(self):
        app = new_app()
        _, inbox = new_endpoint(app)
        message = send(app, payload={"text": "Grüße 🦀"})
        [hook] = inbox.wait(1)
        self.assertEqual(hook.id, message.id)
        for name in receiver.NAMES:
            self.assertEqual(hook.headers[f"svix-{name}"], hook.headers[f"webhook-{name}"])
        # Where it stands: in the queue of its endpoint, and in the log of its application.
        self.assertEqual((hook.headers["pushpull-seq"], hook.headers["pushpull-position"]), ("1", "1"))
        check_refused(new_secret(), hook.body, hook.headers)
        later = str(int(hook.headers["svix-timestamp"]) + 1)
        for name, value in [("timestamp", later), ("id", "msg_another")]:
            changed = {**hook.headers, f"svix-{name}": value, f"webhook-{name}": value}
            check_refused(inbox.secrets[0], hook.body, changed)

    def test_a_secret_that_the_server_made_verifies_too(self):
        app = new_app()
        inbox = Inbox()
        endpoint = svix.endpoint.create(app.id, EndpointIn(url=inbox.url))
        inbox.secrets = [svix.endpoint.get_secret(app.id, endpoint.id).key]
        send(app)
        inbox.wait(1)

    def test_after_a_rotation_the_old_and_the_new_secret_both_verify(self):
        app = new_app()
        endpoint, inbox = new_endpoint(app)
        second, third = new_secret(), new_secret()
        rotated = EndpointSecretRotateIn(key=second, grace_period_seconds=3_600)
        self.assertEqual(svix.endpoint.rotate_secret(app.id, endpoint.id, rotated).key, second)
        inbox.secrets = [inbox.secrets[0], second]
        send(app)
        inbox.wait(1)
        svix.endpoint.rotate_secret(
            app.id, endpoint.id, EndpointSecretRotateIn(key=third, grace_period_seconds=0)
        )
        inbox.secrets = [third]
        send(app)
        hook = inbox.wait(2)[1]
        check_refused(second, hook.body, hook.headers)

    def test_an_ed25519_signature_verifies_by_the_public_key(self):
        app = new_app()
        secret, public = new_key_pair()
        endpoint, inbox = new_endpoint(app, secret=secret)
        self.assertEqual(svix.endpoint.get_secret(app.id, endpoint.id).key, public)
        send(app)
        [hook] = inbox.wait(1)
        self.assertEqual(len(ed25519_signatures(public, hook)), 1)
        self.assertEqual(ed25519_signatures(public, hook, b"{}"), [])

    def test_a_rotation_from_hmac_to_ed25519_signs_in_both_ways(self):
        app = new_app()
        endpoint, inbox = new_endpoint(app)
        secret, public = new_key_pair()
        shown = svix.endpoint.rotate_secret(app.id, endpoint.id, EndpointSecretRotateIn(key=secret))
        self.assertEqual(shown.key, public)
        send(app)
        [hook] = inbox.wait(1)
        self.assertEqual(len(ed25519_signatures(public, hook)), 1)

    def test_custom_headers_come_along_and_a_410_disables_the_endpoint(self):
        app = new_app()
        endpoint, inbox = new_endpoint(app, lambda *_: (410, {}, b""), headers={"X-Tenant": "7"})
        send(app)
        [hook] = inbox.wait(1)
        self.assertEqual(hook.headers["x-tenant"], "7")
        eventually(lambda: svix.endpoint.get(app.id, endpoint.id).disabled, bool)

    def test_an_endpoint_gets_the_messages_of_its_event_types_and_channels(self):
        app = new_app()
        _, everything = new_endpoint(app)
        _, by_type = new_endpoint(app, event_types=["a.b"])
        _, by_channel = new_endpoint(app, channels=["red", "blue"])
        sent = [
            send(app, event_type=event_type, channels=channels).id
            for event_type, channels in [
                ("a.b", None),
                ("c.d", None),
                ("a.b", ["red"]),
                ("c.d", ["green", "blue"]),
            ]
        ]
        self.assertCountEqual([hook.id for hook in everything.wait(4)], sent)
        self.assertCountEqual([hook.id for hook in by_type.wait(2)], [sent[0], sent[2]])
        self.assertCountEqual([hook.id for hook in by_channel.wait(2)], [sent[2], sent[3]])

    def test_send_example_sends_the_event_types_example_to_one_endpoint(self):
        app = new_app()
        endpoint, inbox = new_endpoint(app)
        name = unique("type")
        examples = [{"n": 0}, {"n": 1, "text": "世界"}]
        schemas = {"1": {"type": "object", "examples": examples}}
        svix.event_type.create(EventTypeIn(name=name, description="d", schemas=schemas))
        options = EndpointSendExampleOptions(idempotency_key=unique("key"))
        ask = lambda index: svix.endpoint.send_example(
            app.id, endpoint.id, EventExampleIn(event_type=name, example_index=index), options
        )
        message = ask(1)
        self.assertEqual(message.payload, examples[1])
        self.assertEqual(ask(1), message)
        self.assertEqual(inbox.wait(1)[0].id, message.id)
        own = EventExampleIn(event_type=name, payload={"mine": "世界"})
        self.assertEqual(svix.endpoint.send_example(app.id, endpoint.id, own).payload, {"mine": "世界"})
        wrong = EventExampleIn(event_type=name, example_index=7)
        self.refused(422, ["body", "exampleIndex"], svix.endpoint.send_example, app.id, endpoint.id, wrong)

    def test_recover_sends_again_what_failed_and_get_stats_counts(self):
        app = new_app()
        broken = [True]
        endpoint, inbox = new_endpoint(app, lambda *_: (500 if broken else 200, {}, b""))
        begin = datetime.now(timezone.utc)
        sent = [send(app).id for _ in range(3)]
        stats = lambda **options: svix.endpoint.get_stats(
            app.id, endpoint.id, EndpointGetStatsOptions(**options)
        )
        eventually(stats, lambda counted: counted.fail == 3)
        broken.clear()
        since = RecoverIn(since=begin, until=datetime.now(timezone.utc) + timedelta(seconds=1))
        options = EndpointRecoverOptions(idempotency_key=unique("key"))
        task = svix.endpoint.recover(app.id, endpoint.id, since, options)
        self.assertRegex(task.id, "^qtask_[A-Za-z0-9]{27}$")
        self.assertEqual((str(task.status), str(task.task)), ("running", "endpoint.recover"))
        self.assertEqual(svix.endpoint.recover(app.id, endpoint.id, since, options), task)
        self.assertCountEqual([hook.id for hook in inbox.wait(12)[9:]], sent)
        eventually(stats, lambda counted: (counted.success, counted.fail) == (3, 0))
        tomorrow = begin + timedelta(days=1)
        self.assertEqual(stats(since=tomorrow, until=tomorrow + timedelta(days=1)).success, 0)
        self.assertEqual(stats(since=begin, until=tomorrow).success, 3)
        future = RecoverIn(since=tomorrow)
        self.refused(422, ["body", "since"], svix.endpoint.recover, app.id, endpoint.id, future)
