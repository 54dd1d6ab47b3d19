from svix.api import (
    DestinationCreateOptions,
    DestinationIn,
    DestinationListOptions,
    DestinationPatch,
    DestinationRotateSecretOptions,
    DestinationStatusIn,
    EndpointSecretRotateIn,
    FifoEndpointConfigIn,
    MessagePollerPollOptions,
    Ordering,
    SinkHttpConfigPatch,
    SqsConfigIn,
)

from receiver import new_secret
from sdk import Case, new_app, new_endpoint, send, svix, unique

URL = "https://127.0.0.1/hook"


def polling(**more):
    return DestinationIn(**{"type": "pollingEndpoint", "config": {}, **more})


def fifo(url=URL, **more):
    config = FifoEndpointConfigIn(url=url, **more.pop("config", {}))
    return DestinationIn(**{"type": "fifoEndpoint", "config": config, **more})


class Destination(Case):
    def test_create_makes_an_endpoint_that_is_read(self):
        app = new_app()
        shown = {
            "uid": unique("uid"),
            "event_types": ["a"],
            "channels": ["eu"],
            "metadata": {"owner": "é"},
            "batch_size": 1,
            "max_wait_secs": 0,
        }
        made = svix.destination.create(app.id, polling(**shown))
        for field, value in shown.items():
            self.assertEqual(getattr(made, field), value)
        self.assertEqual((made.type, made.status.value), ("pollingEndpoint", "enabled"))
        self.assertEqual(svix.destination.get(app.id, shown["uid"]), made)
        self.assertEqual(svix.endpoint.get(app.id, made.id).uid, shown["uid"])
        send(app, channels=["eu"])
        send(app, event_type="b", channels=["eu"])
        options = MessagePollerPollOptions(iterator=made.current_iterator)
        page = svix.message.poller.poll(app.id, made.id, options)
        self.assertEqual(([m.payload for m in page.data], page.done), ([{"a": 1}], True))

    def test_create_makes_an_endpoint_that_is_pushed_in_order(self):
        app, secret = new_app(), new_secret()
        config = {"headers": {"X-Tenant": "7", "Authorization": "Bearer secret"}, "key": secret}
        made = svix.destination.create(app.id, fifo(config=config, event_types=[]))
        self.assertEqual((made.type, made.config.url, made.event_types), ("fifoEndpoint", URL, None))
        self.assertEqual(made.config.headers.headers, {"x-tenant": "7"})
        self.assertEqual(set(made.config.headers.sensitive), {"authorization"})
        self.assertEqual(svix.endpoint.get_secret(app.id, made.id).key, secret)

    def test_create_with_the_same_idempotency_key_makes_one(self):
        app = new_app()
        options = DestinationCreateOptions(idempotency_key=unique("key"))
        create = lambda: svix.destination.create(app.id, polling(), options)
        self.assertEqual(create(), create())
        self.assertEqual(len(svix.destination.list(app.id).data), 1)

    def test_create_refuses_what_it_does_not_do_by_name(self):
        app = new_app()
        sqs = SqsConfigIn(queue_url="https://sqs.example/q")
        for field, given in [
            (["type"], DestinationIn(type="sqs", config=sqs)),
            (["batchSize"], polling(batch_size=2)),
            (["maxWaitSecs"], fifo(max_wait_secs=999)),
            (["config", "url"], fifo("ftp://a")),
        ]:
            with self.subTest(field):
                self.refused(422, ["body", *field], svix.destination.create, app.id, given)

    def test_list_goes_there_and_back_in_both_orders(self):
        app = new_app()
        new_endpoint(app)
        for _ in range(5):
            svix.destination.create(app.id, polling())
        found = []
        for order in [Ordering.ASCENDING, Ordering.DESCENDING]:
            page = lambda limit, iterator: svix.destination.list(
                app.id, DestinationListOptions(limit=limit, iterator=iterator, order=order)
            )
            found.append([one.id for one in self.there_and_back(page, 2)])
        self.assertEqual(len(found[0]), 5)
        self.assertEqual(found[0], found[1][::-1])

    def test_upsert_makes_and_replaces(self):
        app, uid = new_app(), unique("uid")
        made = svix.destination.upsert(app.id, uid, fifo(channels=["a"]))
        replaced = svix.destination.upsert(app.id, uid, fifo(f"{URL}/other"))
        self.assertEqual((replaced.id, replaced.channels), (made.id, None))
        self.assertEqual(replaced.config.url, f"{URL}/other")
        self.refused(422, ["body", "type"], svix.destination.upsert, app.id, uid, polling())

    def test_patch_changes_what_it_is_given(self):
        app = new_app()
        made = svix.destination.create(app.id, fifo(channels=["a"]))
        change = DestinationPatch(
            type="fifoEndpoint",
            config=SinkHttpConfigPatch(url=f"{URL}/other"),
            status=DestinationStatusIn.DISABLED,
            metadata={"a": "b"},
        )
        changed = svix.destination.patch(app.id, made.id, change)
        self.assertEqual((changed.config.url, changed.status.value), (f"{URL}/other", "disabled"))
        self.assertEqual((changed.channels, changed.metadata), (["a"], {"a": "b"}))

    def test_rotate_secret_puts_a_new_one_in_place(self):
        app, secret = new_app(), new_secret()
        made = svix.destination.create(app.id, fifo())
        options = DestinationRotateSecretOptions(idempotency_key=unique("key"))
        given = EndpointSecretRotateIn(key=secret)
        self.assertEqual(svix.destination.rotate_secret(app.id, made.id, given, options).key, secret)
        self.assertEqual(svix.endpoint.get_secret(app.id, made.id).key, secret)

    def test_delete_deletes_the_endpoint(self):
        app = new_app()
        made = svix.destination.create(app.id, polling())
        svix.destination.delete(app.id, made.id)
        self.refused(404, "not_found", svix.destination.get, app.id, made.id)
        self.refused(404, "not_found", svix.endpoint.get, app.id, made.id)
