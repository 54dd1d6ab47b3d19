from svix.api import (
    ApplicationIn,
    AppPortalAccessIn,
    AppPortalCapability,
    AuthenticationAppPortalAccessOptions,
    AuthenticationLogoutOptions,
    EndpointIn,
)

from sdk import Case, client, new_app, send, svix, unique


class Access(Case):
    def test_health_answers_without_a_body(self):
        self.assertIsNone(svix.health.get())
        self.assertIsNone(client("no-key-at-all").health.get())

    def test_an_unknown_key_is_refused(self):
        self.refused(401, "authentication_failed", client("testsk_unknown").application.list)

    def test_app_portal_access_gives_a_key_that_sees_one_application(self):
        mine, other = new_app(), new_app()
        access = svix.authentication.app_portal_access(mine.id, AppPortalAccessIn(expiry=3_600))
        self.assertIn(access.token, access.url)
        visitor = client(access.token)
        endpoint = visitor.endpoint.create(mine.id, EndpointIn(url="https://127.0.0.1/hook"))
        self.assertEqual(visitor.endpoint.list(mine.id).data, [endpoint])
        self.refused(404, "not_found", visitor.endpoint.list, other.id)
        self.refused(403, "insufficient_scope", visitor.application.list)

    def test_app_portal_access_makes_the_application_it_is_told_of(self):
        uid = unique("uid")
        portal = svix.authentication.app_portal_access
        self.refused(404, "not_found", portal, uid, AppPortalAccessIn())
        portal(uid, AppPortalAccessIn(application=ApplicationIn(name="made for a portal", uid=uid)))
        self.assertEqual(svix.application.get(uid).name, "made for a portal")

    def test_app_portal_access_with_the_same_idempotency_key_gives_one_key(self):
        app = new_app()
        options = AuthenticationAppPortalAccessOptions(idempotency_key=unique("key"))
        ask = lambda: svix.authentication.app_portal_access(app.id, AppPortalAccessIn(), options)
        self.assertEqual(ask(), ask())

    def test_app_portal_access_refuses_by_name_what_it_does_not_do_yet(self):
        app = new_app()
        for name, given in [
            ("readOnly", AppPortalAccessIn(read_only=True)),
            ("capabilities", AppPortalAccessIn(capabilities=[AppPortalCapability.VIEW_BASE])),
            ("featureFlags", AppPortalAccessIn(feature_flags=["beta"])),
            ("sessionId", AppPortalAccessIn(session_id="s")),
            ("expiry", AppPortalAccessIn(expiry=60)),
        ]:
            with self.subTest(name):
                self.refused(422, ["body", name], svix.authentication.app_portal_access, app.id, given)

    def test_logout_ends_a_portals_key_and_no_other(self):
        app = new_app()
        visitor = client(svix.authentication.app_portal_access(app.id, AppPortalAccessIn()).token)
        visitor.endpoint.list(app.id)
        visitor.authentication.logout(AuthenticationLogoutOptions(idempotency_key=unique("key")))
        self.refused(401, "authentication_failed", visitor.endpoint.list, app.id)
        self.refused(400, "not_a_portal_key", svix.authentication.logout)
        send(app)
