import json
import urllib.request
from datetime import datetime, timedelta, timezone

from svix.api import (
    ApplicationIn,
    MessageCreateOptions,
    MessageGetOptions,
    MessageListOptions,
)
from svix.api.message import message_in_raw

import sdk
from receiver import new_endpoint
from sdk import Case, new_app, send, svix, unique

WITH_CONTENT = MessageCreateOptions(with_content=True)


def now():
    return datetime.now(timezone.utc)


class Message(Case):
    def test_create_gives_back_what_it_was_given(self):
        app = new_app()
        given = {
            "event_type": "invoice.paid",
            "event_id": unique("event"),
            "payload": {"amount": 1.5, "text": 'Grüße 世界 🦀 \u0000 " \\ \u2028'},
            "channels": ["project:1", "a+b"],
            "tags": ["my_tag", "other"],
        }
        message = send(app, WITH_CONTENT, **given, payload_retention_hours=5)
        self.assertRegex(message.id, "^msg_[A-Za-z0-9]{27}$")
        for field, value in given.items():
            self.assertEqual(getattr(message, field), value)
        shown = MessageGetOptions(with_content=True)
        self.assertEqual(svix.message.get(app.id, message.id, shown), message)
        self.assertEqual(svix.message.get(app.id, given["event_id"], shown), message)
        self.assertEqual(svix.message.get(app.id, message.id).payload, {})
        self.assertEqual(send(app).payload, {})

    def test_create_with_the_same_idempotency_key_sends_one(self):
        app = new_app()
        _, inbox = new_endpoint(app)
        options = MessageCreateOptions(idempotency_key=unique("key"))
        first = send(app, options)
        self.assertEqual(send(app, options), first)
        self.refused(422, ["header", "idempotency-key"], lambda: send(app, options, payload={}))
        last = send(app)
        self.assertEqual([hook.id for hook in inbox.wait(2)], [first.id, last.id])

    def test_create_refuses_what_cannot_be_and_tells_where(self):
        app = new_app()
        event_id = unique("event")
        send(app, event_id=event_id)
        for status, code, given in [
            (409, "event_id_taken", {"event_id": event_id}),
            (422, ["body", "eventType"], {"event_type": "no spaces"}),
            (422, ["body", "channels"], {"channels": []}),
            (422, ["body", "channels", "1"], {"channels": ["ok", "not ok"]}),
            (422, ["body", "tags"], {"tags": list("123456")}),
            (422, ["body", "deliverAt"], {"deliver_at": now() + timedelta(days=2)}),
            (422, ["body", "payloadRetentionPeriod"], {"payload_retention_period": 91}),
            (422, ["body", "transformationsParams"], {"transformations_params": {"another": 1}}),
            (413, "payload_too_large", {"payload": {"text": "x" * 1_048_576}}),
        ]:
            with self.subTest(code):
                self.refused(status, code, lambda: send(app, **given))
        self.refused(404, "not_found", svix.message.get, new_app().id, event_id)

    def test_create_makes_the_application_it_brings_along(self):
        uid = unique("uid")
        given = sdk.MessageIn(event_type="a", payload={}, application=ApplicationIn(name="new", uid=uid))
        message = svix.message.create(uid, given)
        app = svix.application.get(uid)
        self.assertEqual((app.name, svix.message.get(app.id, message.id).id), ("new", message.id))

    def test_create_with_deliver_at_is_delivered_no_sooner(self):
        app = new_app()
        _, inbox = new_endpoint(app)
        deliver_at = now() + timedelta(milliseconds=400)
        message = send(app, deliver_at=deliver_at)
        self.assertLess(abs(message.deliver_at - deliver_at), timedelta(milliseconds=1))
        inbox.wait(1)
        self.assertGreaterEqual(now(), message.deliver_at)

    def test_list_by_every_filter_there_and_back(self):
        app = new_app()
        sent = [
            send(
                app,
                event_type=["a.b", "c.d", "e.f"][n % 3],
                payload={"n": n},
                channels=["blue", "both"] if n < 4 else ["red", "both"],
                tags=["odd"] if n % 2 else ["even"],
            )
            for n in range(9)
        ]

        def numbers(**options):
            items = self.there_and_back(
                lambda limit, iterator: svix.message.list(
                    app.id, MessageListOptions(limit=limit, iterator=iterator, with_content=True, **options)
                ),
                2,
            )
            return "".join(str(item.payload["n"]) for item in items)

        everything = "876543210"
        self.assertEqual(numbers(), everything)
        self.assertEqual(numbers(channel="blue"), "3210")
        self.assertEqual(numbers(tag="odd"), "7531")
        self.assertEqual(numbers(event_types=["a.b", "e.f"]), "865320")
        self.assertEqual(numbers(event_types=["a.b", "e.f"], channel="red", tag="even"), "86")
        self.assertEqual(numbers(before=sent[0].timestamp), "")
        self.assertEqual(numbers(before=now() + timedelta(seconds=1)), everything)
        self.assertEqual(numbers(after=sent[8].timestamp), "")
        self.assertEqual(numbers(after=sent[0].timestamp - timedelta(milliseconds=1)), everything)
        self.refused(422, ["query", "limit"], svix.message.list, app.id, MessageListOptions(limit=251))
        self.refused(422, ["query", "iterator"], svix.message.list, app.id, MessageListOptions(iterator="x"))

    def test_expunge_content_erases_the_payload(self):
        app = new_app()
        message = send(app)
        svix.message.expunge_content(app.id, message.id)
        found = svix.message.get(app.id, message.id, MessageGetOptions(with_content=True))
        self.assertEqual(found.payload, {"expired": True})

    def test_message_in_raw_sends_a_text_as_it_is(self):
        app = new_app()
        _, inbox = new_endpoint(app)
        xml = "<?xml version='1.0'?>\n<größe>\t1 &lt; 2</größe>\n"
        svix.message.create(app.id, message_in_raw("a", xml, "application/xml; charset=utf-8"))
        [hook] = inbox.wait(1)
        self.assertEqual(hook.body, xml.encode())
        self.assertEqual(hook.headers["content-type"], "application/xml; charset=utf-8")

    def test_a_payload_arrives_byte_for_byte(self):
        app = new_app()
        _, inbox = new_endpoint(app)
        big = {"text": "Größe 世界 🦀 " * 48_000}
        send(app, payload=big)
        self.assertEqual(json.loads(inbox.wait(1)[0].body), big)
        exact = '{ "z":\t1.10, "z" : 2e400, "\\u00e9\\/" :"é🦀" }'.encode()
        request = urllib.request.Request(
            f"{sdk.url}/api/v1/app/{app.id}/msg",
            data=b'{"eventType":"a","payload": ' + exact + b"}",
            headers={"authorization": f"Bearer {sdk.key}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            self.assertEqual(response.status, 202)
        self.assertEqual(inbox.wait(2)[1].body, exact)
