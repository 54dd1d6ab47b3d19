from datetime import datetime, timezone

from svix.api import (
    ApplicationCreateOptions,
    ApplicationIn,
    ApplicationListOptions,
    ApplicationPatch,
    Ordering,
)

from sdk import Case, new_app, new_endpoint, svix, unique


class Application(Case):
    def test_create_gives_back_what_it_was_given(self):
        given = {
            "name": "Grüße, 世界 🦀",
            "uid": unique("uid"),
            "throttle_rate": 250,
            "metadata": {"plan": "größer 🦀"},
        }
        app = svix.application.create(ApplicationIn(**given))
        self.assertRegex(app.id, "^app_[A-Za-z0-9]{27}$")
        for field, value in given.items():
            self.assertEqual(getattr(app, field), value)
        self.assertLess(abs((datetime.now(timezone.utc) - app.created_at).total_seconds()), 60)
        self.assertEqual(svix.application.get(app.id), app)
        self.assertEqual(svix.application.get(app.uid), app)

    def test_create_with_the_same_idempotency_key_makes_one(self):
        options = ApplicationCreateOptions(idempotency_key=unique("key"))
        first = svix.application.create(ApplicationIn(name="twice"), options)
        self.assertEqual(svix.application.create(ApplicationIn(name="twice"), options), first)
        self.refused(
            422,
            ["header", "idempotency-key"],
            svix.application.create,
            ApplicationIn(name="another"),
            options,
        )

    def test_create_refuses_what_cannot_be(self):
        app = new_app(uid=unique("uid"))
        create = svix.application.create
        self.refused(409, "conflict", create, ApplicationIn(name="b", uid=app.uid))
        self.refused(422, ["body", "name"], create, ApplicationIn(name=""))
        self.refused(422, ["body", "uid"], create, ApplicationIn(name="c", uid="no spaces"))
        self.refused(422, ["body", "throttleRate"], create, ApplicationIn(name="d", throttle_rate=0))
        self.refused(422, ["body", "throttleRate"], create, ApplicationIn(name="d", throttle_rate=70_000))

    def test_get_or_create_makes_it_once_and_then_finds_it(self):
        uid = unique("uid")
        made = svix.application.get_or_create(ApplicationIn(name="first", uid=uid))
        self.assertEqual(svix.application.get_or_create(ApplicationIn(name="second", uid=uid)), made)

    def test_list_goes_there_and_back_in_either_order(self):
        made = sorted(new_app().id for _ in range(5))
        for order in Ordering:
            items = self.there_and_back(
                lambda limit, iterator: svix.application.list(
                    ApplicationListOptions(limit=limit, iterator=iterator, order=order)
                ),
                3,
            )
            found = [app.id for app in items if app.id in made]
            self.assertEqual(found, made if order == Ordering.ASCENDING else made[::-1])
        self.refused(422, ["query", "limit"], svix.application.list, ApplicationListOptions(limit=251))

    def test_list_leaves_out_applications_by_their_endpoints(self):
        bare, disabled, enabled = new_app(), new_app(), new_app()
        new_endpoint(disabled, disabled=True)
        new_endpoint(enabled)

        def shown(**options):
            items = self.there_and_back(
                lambda limit, iterator: svix.application.list(
                    ApplicationListOptions(limit=limit, iterator=iterator, **options)
                ),
                250,
            )
            return [app.id in [item.id for item in items] for app in (bare, disabled, enabled)]

        self.assertEqual(shown(), [True, True, True])
        self.assertEqual(shown(exclude_apps_with_no_endpoints=True), [False, True, True])
        self.assertEqual(shown(exclude_apps_with_disabled_endpoints=True), [True, False, True])
        self.assertEqual(shown(exclude_apps_with_svix_play_endpoints=False), [True, True, True])
        play = ApplicationListOptions(exclude_apps_with_svix_play_endpoints=True)
        self.refused(422, ["query", "exclude_apps_with_svix_play_endpoints"], svix.application.list, play)

    def test_upsert_replaces_an_application_or_makes_it_under_its_uid(self):
        uid = unique("uid")
        made = svix.application.upsert(uid, ApplicationIn(name="made", throttle_rate=5, metadata={"a": "1"}))
        replaced = svix.application.upsert(uid, ApplicationIn(name="replaced"))
        self.assertEqual((replaced.id, replaced.uid, replaced.name), (made.id, uid, "replaced"))
        self.assertEqual((replaced.throttle_rate, replaced.metadata), (None, {}))

    def test_patch_takes_null_for_another_thing_than_absence(self):
        app = new_app(uid=unique("uid"), throttle_rate=9, metadata={"a": "1"})
        renamed = svix.application.patch(app.id, ApplicationPatch(name="renamed"))
        self.assertEqual((renamed.uid, renamed.throttle_rate, renamed.metadata), (app.uid, 9, {"a": "1"}))
        emptied = svix.application.patch(app.id, ApplicationPatch(uid=None, throttle_rate=None))
        self.assertEqual((emptied.name, emptied.uid, emptied.throttle_rate), ("renamed", None, None))
        self.refused(404, "not_found", svix.application.get, app.uid)

    def test_delete_takes_it_away(self):
        app = new_app(uid=unique("uid"))
        svix.application.delete(app.uid)
        self.refused(404, "not_found", svix.application.get, app.id)
        self.refused(404, "not_found", svix.application.delete, app.id)
