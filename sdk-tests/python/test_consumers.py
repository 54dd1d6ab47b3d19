import asyncio
import base64
import json
import os
from datetime import datetime, timedelta, timezone

from svix import AutoConfigConsumer
from svix.api import MessagePollerConsumerPollOptions
from svix.api_internal.message_pollerv2 import MessagePollerv2ConsumerPollOptions
from svix.models import PollingEndpointConsumerSeekIn, SinkInCommon

from sdk import Case, _Driven, key, new_app, new_endpoint, send, svix, url


def new_queue(count):
    app = new_app()
    # An endpoint of any kind can be read; one that is pushed to is read as a copy.
    queue = new_endpoint(app)
    return app, queue, [send(app).id for _ in range(count)]


def read(app, queue, **options):
    options = MessagePollerConsumerPollOptions(**options)
    return svix.message.poller.consumer_poll(app.id, queue.id, "billing", options)


def ids(page):
    return [message.id for message in page.data]


class Consumers(Case):
    def test_consumer_poll_goes_on_where_the_consumer_is(self):
        app, queue, sent = new_queue(3)
        first = read(app, queue, limit=2)
        self.assertEqual((ids(first), first.done), (sent[:2], False))
        self.assertEqual(ids(read(app, queue, limit=1)), sent[:1], "nobody said that it was handled")
        rest = read(app, queue, iterator=first.iterator)
        self.assertEqual((ids(rest), rest.done), (sent[2:], True))
        self.assertEqual(ids(read(app, queue)), sent[2:], "a process that was started anew")
        self.assertEqual(ids(read(app, queue, iterator=rest.iterator)), [])
        self.refused(400, "invalid_iterator", lambda: read(app, queue, iterator="made-up"))

    def test_consumer_seek_puts_a_consumer_back(self):
        app, queue, sent = new_queue(2)
        read(app, queue, iterator=read(app, queue).iterator)

        def seek(minutes):
            after = datetime.now(timezone.utc) + timedelta(minutes=minutes)
            to = PollingEndpointConsumerSeekIn(after=after)
            return svix.message.poller.consumer_seek(app.id, queue.id, "billing", to)

        self.assertEqual(ids(read(app, queue, iterator=seek(-1).iterator)), sent)
        self.refused(422, ["body", "after"], seek, 1)

    def test_auto_config_consumer_receives_under_a_lease_and_commits(self):
        app, queue, sent = new_queue(3)
        secret = svix.endpoint.get_secret(app.id, queue.id).key
        content = {"aid": app.id, "eid": queue.id, "surl": url, "esec": secret, "tok": key}
        token = "auto_v1_" + base64.b64encode(json.dumps(content).encode()).decode()
        consumer = AutoConfigConsumer(token, SinkInCommon())
        receive, commit = consumer.receive, consumer.commit
        if os.environ.get("SDK_CLIENT") == "async":

            def waited_for(call):
                return lambda *a, **k: asyncio.run_coroutine_threadsafe(call(*a, **k), _Driven.loop).result(20)

            receive, commit = waited_for(consumer.receive_async), waited_for(consumer.commit_async)
        lease = MessagePollerv2ConsumerPollOptions(limit=2, lease_duration_ms=1000, starting_position="earliest")
        first = receive("billing", lease)
        self.assertEqual((ids(first), first.done), (sent[:2], False))
        self.assertEqual([message.offset for message in first.data], [1, 2])
        self.assertEqual(ids(receive("billing", lease)), [], "one at a time")
        self.refused(422, ["body", "offset"], commit, "billing", 3)
        commit("billing", 2)
        rest = receive("billing", lease)
        self.assertEqual((ids(rest), rest.done), (sent[2:], True))
