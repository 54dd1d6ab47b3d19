from svix.api import (
    EndpointCreateOptions,
    EndpointHeadersIn,
    EndpointHeadersPatchIn,
    EndpointIn,
    EndpointListOptions,
    EndpointPatch,
    EndpointRotateSecretOptions,
    EndpointSecretRotateIn,
    EndpointUpsertIn,
    Ordering,
)

from receiver import new_secret
from sdk import Case, new_app, new_endpoint, svix, unique

URL = "https://127.0.0.1/hook"


class Endpoint(Case):
    def test_create_gives_back_what_it_was_given(self):
        app = new_app(uid=unique("uid"))
        shown = {
            "url": f"{URL}?a=%20b",
            "uid": unique("uid"),
            "description": "für 世界 🦀",
            "throttle_rate": 12,
            "disabled": True,
            "event_types": ["invoice.paid", "invoice.sent"],
            "channels": ["project:1", "project:2"],
            "metadata": {"owner": "é"},
        }
        secret = new_secret()
        endpoint = svix.endpoint.create(
            app.uid, EndpointIn(**shown, secret=secret, headers={"X-Tenant": "7"})
        )
        self.assertRegex(endpoint.id, "^ep_[A-Za-z0-9]{27}$")
        for field, value in shown.items():
            self.assertEqual(getattr(endpoint, field), value)
        self.assertEqual(svix.endpoint.get(app.id, endpoint.id), endpoint)
        self.assertEqual(svix.endpoint.get(app.uid, shown["uid"]), endpoint)
        self.assertEqual(svix.endpoint.get_secret(app.id, endpoint.id).key, secret)

    def test_create_with_the_same_idempotency_key_makes_one(self):
        app = new_app()
        options = EndpointCreateOptions(idempotency_key=unique("key"))
        first = svix.endpoint.create(app.id, EndpointIn(url=URL), options)
        self.assertEqual(svix.endpoint.create(app.id, EndpointIn(url=URL), options), first)
        self.assertEqual(len(svix.endpoint.list(app.id).data), 1)

    def test_create_refuses_what_cannot_be_and_tells_where(self):
        app, other = new_app(), new_app()
        uid = unique("uid")
        mine = new_endpoint(app, uid=uid)
        for status, code, given in [
            (409, "conflict", {"uid": uid}),
            (422, ["body", "url"], {"url": "ftp://example.com/"}),
            (422, ["body", "url"], {"url": "https://user:pw@example.com/"}),
            (422, ["body", "url"], {"url": "https://169.254.169.254/"}),
            (422, ["body", "eventTypes"], {"event_types": []}),
            (422, ["body", "channels"], {"channels": ["a", "a"]}),
            (422, ["body", "secret"], {"secret": "whsec_short"}),
            (422, ["body", "headers", "webhook-id"], {"headers": {"webhook-id": "x"}}),
        ]:
            with self.subTest(given=given):
                self.refused(status, code, lambda: new_endpoint(app, **given))
        self.refused(404, "not_found", svix.endpoint.list, "nobody")
        self.refused(404, "not_found", svix.endpoint.get, other.id, mine.id)

    def test_list_goes_there_and_back_in_either_order(self):
        app = new_app()
        made = sorted(new_endpoint(app).id for _ in range(5))
        for order in Ordering:
            items = self.there_and_back(
                lambda limit, iterator: svix.endpoint.list(
                    app.id, EndpointListOptions(limit=limit, iterator=iterator, order=order)
                ),
                2,
            )
            self.assertEqual([one.id for one in items], made if order == Ordering.ASCENDING else made[::-1])

    def test_upsert_replaces_an_endpoint_or_makes_it_under_its_uid(self):
        app, uid = new_app(), unique("uid")
        given = EndpointUpsertIn(url=URL, description="made", channels=["a"], throttle_rate=3)
        made = svix.endpoint.upsert(app.id, uid, given)
        secret = svix.endpoint.get_secret(app.id, uid)
        replaced = svix.endpoint.upsert(app.id, uid, EndpointUpsertIn(url=URL + "/2", event_types=["a.b"]))
        self.assertEqual((replaced.id, replaced.uid, replaced.url), (made.id, uid, URL + "/2"))
        self.assertEqual(
            (replaced.event_types, replaced.channels, replaced.throttle_rate), (["a.b"], None, None)
        )
        self.assertEqual(svix.endpoint.get_secret(app.id, uid), secret)

    def test_patch_takes_null_for_another_thing_than_absence(self):
        app = new_app()
        given = {"uid": unique("uid"), "channels": ["c"], "throttle_rate": 4, "event_types": ["a"]}
        endpoint = new_endpoint(app, description="d", **given)
        disabled = svix.endpoint.patch(app.id, endpoint.id, EndpointPatch(disabled=True))
        self.assertTrue(disabled.disabled)
        for field, value in given.items():
            self.assertEqual(getattr(disabled, field), value)
        nothing = EndpointPatch(disabled=False, metadata={"m": "1"}, **dict.fromkeys(given))
        emptied = svix.endpoint.patch(app.id, endpoint.id, nothing)
        for field in given:
            self.assertIsNone(getattr(emptied, field))
        self.assertEqual((emptied.disabled, emptied.description, emptied.metadata), (False, "d", {"m": "1"}))

    def test_delete_takes_it_away(self):
        app = new_app()
        endpoint = new_endpoint(app)
        svix.endpoint.delete(app.id, endpoint.id)
        self.refused(404, "not_found", svix.endpoint.get, app.id, endpoint.id)

    def test_headers_are_set_changed_and_shown(self):
        app = new_app()
        id = new_endpoint(app).id

        def shown():
            out = svix.endpoint.get_headers(app.id, id)
            return out.headers, list(out.sensitive)

        svix.endpoint.set_headers(
            app.id, id, EndpointHeadersIn(headers={"X-One": "1", "Authorization": "Bearer s"})
        )
        self.assertEqual(shown(), ({"x-one": "1"}, ["authorization"]))
        svix.endpoint.patch_headers(app.id, id, EndpointHeadersPatchIn(headers={"X-Two": "zwei"}))
        self.assertEqual(shown(), ({"x-one": "1", "x-two": "zwei"}, ["authorization"]))
        gone = EndpointHeadersPatchIn(headers={}, delete_headers=["X-One", "authorization"])
        svix.endpoint.patch_headers(app.id, id, gone)
        self.assertEqual(shown(), ({"x-two": "zwei"}, []))
        host = EndpointHeadersIn(headers={"Host": "x"})
        self.refused(422, ["body", "headers", "Host"], svix.endpoint.set_headers, app.id, id, host)

    def test_rotate_secret_puts_the_given_one_in_place_or_a_new_one(self):
        app = new_app()
        id = new_endpoint(app).id
        secret = lambda: svix.endpoint.get_secret(app.id, id).key
        first = secret()
        options = EndpointRotateSecretOptions(idempotency_key=unique("key"))
        svix.endpoint.rotate_secret(app.id, id, EndpointSecretRotateIn(), options)
        second = secret()
        svix.endpoint.rotate_secret(app.id, id, EndpointSecretRotateIn(), options)
        self.assertEqual(secret(), second)
        self.assertNotEqual(second, first)
        third = new_secret()
        svix.endpoint.rotate_secret(app.id, id, EndpointSecretRotateIn(key=third, grace_period_seconds=60))
        self.assertEqual(secret(), third)
        wrong = EndpointSecretRotateIn(grace_period_seconds=9_999_999)
        self.refused(422, ["body", "gracePeriodSeconds"], svix.endpoint.rotate_secret, app.id, id, wrong)
