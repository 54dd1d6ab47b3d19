import assert from "node:assert/strict";
import { test } from "node:test";
import { newApp, refused, svix, thereAndBack, unique, upsert } from "./sdk.js";

test("application.create gives back what it was given", async () => {
  const uid = unique("uid");
  const app = await svix.application.create({
    name: "Grüße, 世界 🦀",
    uid,
    throttleRate: 250,
    metadata: { plan: "größer", emoji: "🦀" },
  });
  assert.match(app.id, /^app_[A-Za-z0-9]{27}$/);
  assert.equal(app.name, "Grüße, 世界 🦀");
  assert.equal(app.uid, uid);
  assert.equal(app.throttleRate, 250);
  assert.deepEqual(app.metadata, { plan: "größer", emoji: "🦀" });
  assert.ok(Math.abs(app.createdAt - Date.now()) < 60_000);
  assert.deepEqual(await svix.application.get(app.id), app);
  assert.deepEqual(await svix.application.get(uid), app, "by uid");
});

test("application.create with the same idempotency key makes one application", async () => {
  const idempotencyKey = unique("key");
  const given = { name: "twice" };
  const first = await svix.application.create(given, { idempotencyKey });
  const second = await svix.application.create(given, { idempotencyKey });
  assert.deepEqual(second, first);
  const other = svix.application.create({ name: "another" }, { idempotencyKey });
  await refused(other, 422, ["header", "idempotency-key"]);
  assert.notEqual((await svix.application.create(given)).id, first.id);
});

test("application.create refuses a uid that is taken, and what cannot be", async () => {
  const app = await newApp({ uid: unique("uid") });
  await refused(svix.application.create({ name: "b", uid: app.uid }), 409, "conflict");
  await refused(svix.application.create({ name: "" }), 422, ["body", "name"]);
  await refused(svix.application.create({}), 422, ["body", "name"]);
  await refused(svix.application.create({ name: "c", uid: "no spaces" }), 422, ["body", "uid"]);
  await refused(svix.application.create({ name: "d", throttleRate: 0 }), 422, ["body", "throttleRate"]);
});

test("application.getOrCreate makes it once, and then finds it", async () => {
  const uid = unique("uid");
  const made = await svix.application.getOrCreate({ name: "first", uid });
  const found = await svix.application.getOrCreate({ name: "second", uid });
  assert.deepEqual(found, made);
});

test("application.list goes there and back, in either order", async () => {
  const made = [];
  for (let n = 0; n < 7; n += 1) made.push((await newApp()).id);
  for (const order of ["ascending", "descending"]) {
    const all = await thereAndBack((page) => svix.application.list({ order, ...page }), 3);
    const ids = all.map((app) => app.id).filter((id) => made.includes(id));
    // Ids sort by the time they were made, to a few milliseconds.
    made.sort();
    assert.deepEqual(ids, order === "ascending" ? made : [...made].reverse());
  }
  await refused(svix.application.list({ limit: 251 }), 422, ["query", "limit"]);
  await refused(svix.application.list({ iterator: "nonsense" }), 422, ["query", "iterator"]);
});

test("application.list leaves out applications by their endpoints", async () => {
  const [bare, disabled, enabled] = [await newApp(), await newApp(), await newApp()];
  const url = "https://127.0.0.1/hook";
  await svix.endpoint.create(disabled.id, { url, disabled: true });
  await svix.endpoint.create(enabled.id, { url });
  const shown = async (options) => {
    const all = await thereAndBack((page) => svix.application.list({ ...options, ...page }), 250);
    return [bare, disabled, enabled].map((app) => all.some(({ id }) => id === app.id));
  };
  assert.deepEqual(await shown({}), [true, true, true]);
  assert.deepEqual(await shown({ excludeAppsWithNoEndpoints: true }), [false, true, true]);
  assert.deepEqual(await shown({ excludeAppsWithDisabledEndpoints: true }), [true, false, true]);
  assert.deepEqual(await shown({ excludeAppsWithSvixPlayEndpoints: false }), [true, true, true]);
  const play = svix.application.list({ excludeAppsWithSvixPlayEndpoints: true });
  await refused(play, 422, ["query", "exclude_apps_with_svix_play_endpoints"]);
});

test(`application.${upsert} replaces an application, or makes it under its uid`, async () => {
  const uid = unique("uid");
  const made = await svix.application[upsert](uid, { name: "made", throttleRate: 5, metadata: { a: "1" } });
  assert.equal(made.uid, uid);
  const replaced = await svix.application[upsert](uid, { name: "replaced" });
  assert.equal(replaced.id, made.id);
  assert.deepEqual([replaced.name, replaced.uid, replaced.metadata], ["replaced", uid, {}]);
  assert.ok(replaced.throttleRate == null);
  assert.ok(replaced.updatedAt >= made.updatedAt);
  await refused(svix.application[upsert](made.id, {}), 422, ["body", "name"]);
});

test("application.patch takes null for another thing than absence", async () => {
  const app = await newApp({ uid: unique("uid"), throttleRate: 9, metadata: { a: "1" } });
  const renamed = await svix.application.patch(app.id, { name: "renamed" });
  assert.deepEqual([renamed.uid, renamed.throttleRate, renamed.metadata], [app.uid, 9, { a: "1" }]);
  const emptied = await svix.application.patch(app.id, { uid: null, throttleRate: null, metadata: { b: "2" } });
  assert.ok(emptied.uid == null && emptied.throttleRate == null);
  assert.deepEqual([emptied.name, emptied.metadata], ["renamed", { b: "2" }]);
  await refused(svix.application.get(app.uid), 404, "not_found");
});

test("application.delete takes it away, and its uid is free again", async () => {
  const app = await newApp({ uid: unique("uid") });
  await svix.application.delete(app.uid);
  await refused(svix.application.get(app.id), 404, "not_found");
  await refused(svix.application.delete(app.id), 404, "not_found");
  assert.notEqual((await newApp({ uid: app.uid })).id, app.id);
});
