import json
import urllib.request
from datetime import datetime, timedelta, timezone

from svix.api import MessagePollerPollOptions

from sdk import Case, client, key, new_app, new_endpoint, send, svix, unique, url


def poll(app, queue, **options):
    return svix.message.poller.poll(app.id, queue.id, MessagePollerPollOptions(**options))


class Poller(Case):
    def test_poll_reads_a_queue_in_pages(self):
        app = new_app()
        queue = new_endpoint(app, uid=unique("uid"))
        empty = svix.message.poller.poll(app.id, queue.uid)
        self.assertEqual((empty.data, empty.done), ([], True))
        event_id = unique("evt")
        sent = [
            send(app, event_type="a", event_id=event_id, channels=["eu"], tags=["march"]),
            send(app, event_type="b"),
            send(app, event_type="c"),
        ]
        first = poll(app, queue, limit=2)
        self.assertEqual([m.id for m in first.data], [sent[0].id, sent[1].id])
        self.assertFalse(first.done)
        message = first.data[0]
        self.assertEqual((message.event_type, message.event_id), ("a", event_id))
        self.assertEqual((message.payload, message.channels, message.tags), ({"a": 1}, ["eu"], ["march"]))
        rest = poll(app, queue, iterator=first.iterator)
        self.assertEqual(([m.id for m in rest.data], rest.done), ([sent[2].id], True))
        self.assertEqual(len(poll(app, queue, iterator=empty.iterator).data), 3)

    def test_poll_filters(self):
        app = new_app()
        queue = new_endpoint(app)
        send(app, event_type="a", channels=["eu"])
        send(app, event_type="b", channels=["us"])
        read = lambda **options: [m.event_type for m in poll(app, queue, **options).data]
        self.assertEqual(read(event_type="b"), ["b"])
        self.assertEqual(read(channel="eu"), ["a"])
        self.assertEqual(read(after=datetime.now(timezone.utc) - timedelta(minutes=1)), ["a", "b"])

    def test_poll_refuses_what_is_no_place_as_the_bridge_wants_it(self):
        app = new_app()
        queue, other = new_endpoint(app), new_endpoint(app)
        for wrong in ["made-up", poll(app, other).iterator]:
            with self.subTest(wrong):
                options = MessagePollerPollOptions(iterator=wrong)
                self.refused(400, "invalid_iterator", svix.message.poller.poll, app.id, queue.id, options)
        options = MessagePollerPollOptions(limit=0)
        self.refused(422, ["query", "limit"], svix.message.poller.poll, app.id, queue.id, options)
        self.refused(404, "not_found", svix.message.poller.poll, app.id, "ep_of_nobody")

    def test_poll_with_the_endpoints_own_token_which_opens_nothing_else(self):
        app = new_app()
        queue, other = new_endpoint(app), new_endpoint(app)
        send(app)
        # No SDK has a call for it.
        asked = urllib.request.Request(
            f"{url}/api/v1/auth/app/{app.id}/poller/{queue.id}/token",
            headers={"authorization": f"Bearer {key}"},
        )
        with urllib.request.urlopen(asked) as answer:
            reader = client(json.load(answer)["token"])
        self.assertEqual(len(reader.message.poller.poll(app.id, queue.id).data), 1)
        self.refused(404, "not_found", reader.message.poller.poll, app.id, other.id)
        self.refused(403, "insufficient_scope", reader.endpoint.list, app.id)
