import assert from "node:assert/strict";
import { test } from "node:test";
import { client, generation, newApp, refused, svix, unique } from "./sdk.js";

const portal = async (app, body, options) => svix.authentication.appPortalAccess(app, body, options);

test("health.get answers without a body", async () => {
  assert.equal(await svix.health.get(), undefined);
  assert.equal(await client("no key at all").health.get(), undefined);
});

test("an unknown key is refused, with a code", async () => {
  const error = await refused(client("testsk_unknown").application.list(), 401, "authentication_failed");
  assert.equal(error.headers["www-authenticate"], "Bearer");
});

test("authentication.appPortalAccess gives a key that sees one application", async () => {
  const [mine, other] = [await newApp(), await newApp()];
  const access = await portal(mine.id, { expiry: 3_600 });
  assert.match(access.url, /^http/);
  assert.ok(access.url.includes(access.token));
  const visitor = client(access.token);
  const endpoint = await visitor.endpoint.create(mine.id, { url: "https://127.0.0.1/hook" });
  assert.deepEqual((await visitor.endpoint.list(mine.id)).data, [endpoint]);
  await refused(visitor.endpoint.list(other.id), 404, "not_found");
  await refused(visitor.application.list(), 403, "insufficient_scope");
  await refused(visitor.application.delete(mine.id), 403, "insufficient_scope");
  await refused(visitor.message.create(mine.id, { eventType: "a", payload: {} }), 403, "insufficient_scope");
});

test("authentication.appPortalAccess makes the application, if it is told of it", async () => {
  const uid = unique("uid");
  await refused(portal(uid, {}), 404, "not_found");
  await portal(uid, { application: { name: "made for a portal", uid } });
  assert.equal((await svix.application.get(uid)).name, "made for a portal");
});

test("authentication.appPortalAccess with the same idempotency key gives one key", async () => {
  const app = await newApp();
  const options = { idempotencyKey: unique("key") };
  assert.deepEqual(await portal(app.id, {}, options), await portal(app.id, {}, options));
  assert.notDeepEqual(await portal(app.id, {}), await portal(app.id, {}));
});

test("authentication.appPortalAccess refuses by name what it does not do yet", async () => {
  const app = await newApp();
  for (const [field, value] of [
    ["readOnly", true],
    ["capabilities", ["ViewBase"]],
    ["featureFlags", ["beta"]],
    ["sessionId", "s"],
    ["expiry", 60],
  ]) {
    await refused(portal(app.id, { [field]: value }), 422, ["body", field]);
  }
});

test("authentication.logout ends a portal's key, and no other", async () => {
  const app = await newApp();
  const visitor = client((await portal(app.id, {})).token);
  await visitor.endpoint.list(app.id);
  await visitor.authentication.logout({ idempotencyKey: unique("key") });
  await refused(visitor.endpoint.list(app.id), 401, "authentication_failed");
  await refused(svix.authentication.logout(), 400, "not_a_portal_key");
});

test(
  "authentication.dashboardAccess, the older name, gives a key too",
  { skip: generation > 1 && "gone in 2.x" },
  async () => {
    const app = await newApp();
    const { token } = await svix.authentication.dashboardAccess(app.id);
    assert.deepEqual((await client(token).endpoint.list(app.id)).data, []);
  },
);
