import assert from "node:assert/strict";
import { test } from "node:test";
import { eventTypesField, generation, newApp, refused, setHeaders, svix, thereAndBack, unique, upsert } from "./sdk.js";
import { newSecret } from "./receiver.js";

const url = "https://127.0.0.1/hook";

function newEndpoint(app, more = {}) {
  return svix.endpoint.create(app.id, { url, ...more });
}

test("endpoint.create gives back what it was given", async () => {
  const app = await newApp({ uid: unique("uid") });
  const given = {
    url: `${url}?a=%20b`,
    uid: unique("uid"),
    description: "für 世界 🦀",
    throttleRate: 12,
    disabled: true,
    [eventTypesField]: ["invoice.paid", "invoice.sent"],
    channels: ["project:1", "project:2"],
    metadata: { owner: "é" },
    secret: newSecret(),
    headers: { "X-Tenant": "7", Authorization: "Bearer secret" },
  };
  const endpoint = await svix.endpoint.create(app.uid, given);
  assert.match(endpoint.id, /^ep_[A-Za-z0-9]{27}$/);
  for (const field of [
    "url",
    "uid",
    "description",
    "throttleRate",
    "disabled",
    "channels",
    "metadata",
    eventTypesField,
  ]) {
    assert.deepEqual(endpoint[field], given[field], field);
  }
  assert.ok(Math.abs(endpoint.createdAt - Date.now()) < 60_000);
  assert.deepEqual(await svix.endpoint.get(app.id, endpoint.id), endpoint);
  assert.deepEqual(await svix.endpoint.get(app.uid, given.uid), endpoint, "by uids");
  assert.deepEqual(await svix.endpoint.getSecret(app.id, endpoint.id), { key: given.secret });
  if (generation === 1) assert.equal(endpoint.version, 1);
});

test("endpoint.create with the same idempotency key makes one endpoint", async () => {
  const app = await newApp();
  const options = { idempotencyKey: unique("key") };
  const first = await svix.endpoint.create(app.id, { url }, options);
  assert.deepEqual(await svix.endpoint.create(app.id, { url }, options), first);
  assert.equal((await svix.endpoint.list(app.id)).data.length, 1);
});

test("endpoint.create refuses what cannot be, and tells where", async () => {
  const app = await newApp();
  const uid = unique("uid");
  await newEndpoint(app, { uid });
  await refused(newEndpoint(app, { uid }), 409, "conflict");
  await refused(svix.endpoint.create("app_of_nobody", { url }), 404, "not_found");
  for (const bad of ["ftp://example.com/", "https://user:pw@example.com/", "https://10.0.0.1/", "nonsense"]) {
    await refused(newEndpoint(app, { url: bad }), 422, ["body", "url"]);
  }
  await refused(newEndpoint(app, { [eventTypesField]: [] }), 422, ["body", "eventTypes"]);
  await refused(newEndpoint(app, { channels: ["a", "a"] }), 422, ["body", "channels"]);
  await refused(newEndpoint(app, { secret: "whsec_short" }), 422, ["body", "secret"]);
  await refused(newEndpoint(app, { headers: { "svix-id": "x" } }), 422, ["body", "headers", "svix-id"]);
  await refused(newEndpoint(app, { metadata: { n: 1 } }), 422, ["body", "metadata", "n"]);
});

test("endpoint.list goes there and back, in either order", async () => {
  const app = await newApp();
  const made = [];
  for (let n = 0; n < 7; n += 1) made.push((await newEndpoint(app)).id);
  made.sort();
  for (const order of ["ascending", "descending"]) {
    const all = await thereAndBack((page) => svix.endpoint.list(app.id, { order, ...page }), 3);
    assert.deepEqual(
      all.map(({ id }) => id),
      order === "ascending" ? made : [...made].reverse(),
    );
  }
  assert.deepEqual((await svix.endpoint.list((await newApp()).id)).data, []);
});

test(`endpoint.${upsert} replaces an endpoint, or makes it under its uid`, async () => {
  const app = await newApp();
  const uid = unique("uid");
  const made = await svix.endpoint[upsert](app.id, uid, { url, description: "made", channels: ["a"], throttleRate: 3 });
  assert.equal(made.uid, uid);
  const secret = await svix.endpoint.getSecret(app.id, uid);
  const replaced = await svix.endpoint[upsert](app.id, uid, { url: `${url}/2`, [eventTypesField]: ["a.b"] });
  assert.deepEqual([replaced.id, replaced.uid, replaced.url], [made.id, uid, `${url}/2`]);
  assert.deepEqual(replaced[eventTypesField], ["a.b"]);
  assert.ok(replaced.channels == null && replaced.throttleRate == null && replaced.description === "");
  assert.deepEqual(await svix.endpoint.getSecret(app.id, uid), secret, "its secret stays");
});

test("endpoint.patch takes null for another thing than absence", async () => {
  const app = await newApp();
  const all = {
    uid: unique("uid"),
    description: "d",
    channels: ["c"],
    throttleRate: 4,
    [eventTypesField]: ["a"],
    metadata: { m: "1" },
  };
  const endpoint = await newEndpoint(app, all);
  const disabled = await svix.endpoint.patch(app.id, endpoint.id, { disabled: true });
  assert.equal(disabled.disabled, true);
  for (const [field, value] of Object.entries(all)) assert.deepEqual(disabled[field], value, field);
  const emptied = await svix.endpoint.patch(app.id, endpoint.id, {
    uid: null,
    channels: null,
    throttleRate: null,
    [eventTypesField]: null,
    disabled: false,
    url: `${url}/new`,
    metadata: {},
  });
  for (const field of ["uid", "channels", "throttleRate", eventTypesField]) assert.ok(emptied[field] == null, field);
  assert.deepEqual([emptied.disabled, emptied.url, emptied.description], [false, `${url}/new`, "d"]);
  assert.deepEqual(emptied.metadata, {});
  await refused(svix.endpoint.get(app.id, all.uid), 404, "not_found");
  await refused(svix.endpoint.patch(app.id, endpoint.id, { url: "gopher://x" }), 422, ["body", "url"]);
});

test(
  "rateLimit, the older name of throttleRate, is taken and shown",
  { skip: generation > 1 && "gone in 2.x" },
  async () => {
    const app = await newApp({ rateLimit: 7 });
    assert.deepEqual([app.rateLimit, app.throttleRate], [7, 7]);
    assert.equal((await svix.application.patch(app.id, { rateLimit: 8 })).throttleRate, 8);
    const endpoint = await newEndpoint(app, { rateLimit: 9, version: 1 });
    assert.deepEqual([endpoint.rateLimit, endpoint.throttleRate], [9, 9]);
    assert.equal(
      (await svix.endpoint.update(app.id, endpoint.id, endpoint)).rateLimit,
      9,
      "written back as it was shown",
    );
    assert.equal((await svix.endpoint.patch(app.id, endpoint.id, { rateLimit: null })).throttleRate ?? null, null);
    await refused(newEndpoint(app, { rateLimit: 1, throttleRate: 2 }), 422, ["body", "rateLimit"]);
  },
);

test("endpoint.patch puts a secret in place at once", { skip: generation > 1 && "gone in 2.x" }, async () => {
  const app = await newApp();
  const { id } = await newEndpoint(app);
  const secret = newSecret();
  await svix.endpoint.patch(app.id, id, { secret });
  assert.equal((await svix.endpoint.getSecret(app.id, id)).key, secret);
  await refused(svix.endpoint.patch(app.id, id, { secret: null }), 422, ["body", "secret"]);
});

test("endpoint.delete takes it away", async () => {
  const app = await newApp();
  const endpoint = await newEndpoint(app);
  await svix.endpoint.delete(app.id, endpoint.id);
  await refused(svix.endpoint.get(app.id, endpoint.id), 404, "not_found");
  assert.deepEqual((await svix.endpoint.list(app.id)).data, []);
});

test("an endpoint is not found in another application", async () => {
  const [mine, other] = [await newApp(), await newApp()];
  const endpoint = await newEndpoint(mine);
  await refused(svix.endpoint.get(other.id, endpoint.id), 404, "not_found");
  await refused(svix.endpoint.delete(other.id, endpoint.id), 404, "not_found");
});

test(`endpoint.getHeaders, ${setHeaders} and patchHeaders`, async () => {
  const app = await newApp();
  const { id } = await newEndpoint(app);
  const shown = async () => {
    const { headers, sensitive } = await svix.endpoint.getHeaders(app.id, id);
    return [headers, sensitive];
  };
  assert.deepEqual(await shown(), [{}, []]);
  await svix.endpoint[setHeaders](app.id, id, { headers: { "X-One": "1", "x-two": "2", Authorization: "Bearer s" } });
  assert.deepEqual(await shown(), [{ "x-one": "1", "x-two": "2" }, ["authorization"]]);
  await svix.endpoint.patchHeaders(app.id, id, { headers: { "X-Two": "zwei", "x-three": "3" } });
  assert.deepEqual(await shown(), [{ "x-one": "1", "x-two": "zwei", "x-three": "3" }, ["authorization"]]);
  await svix.endpoint.patchHeaders(app.id, id, { headers: {}, deleteHeaders: ["X-One", "Authorization"] });
  assert.deepEqual(await shown(), [{ "x-two": "zwei", "x-three": "3" }, []]);
  await svix.endpoint[setHeaders](app.id, id, { headers: {} });
  assert.deepEqual(await shown(), [{}, []]);
  await refused(svix.endpoint[setHeaders](app.id, id, { headers: { Host: "x" } }), 422, ["body", "headers", "Host"]);
  if (generation === 1) {
    await svix.endpoint.headersUpdate(app.id, id, { headers: { a: "1" } });
    await svix.endpoint.headersPatch(app.id, id, { headers: { b: "2" } });
    assert.deepEqual(await shown(), [{ a: "1", b: "2" }, []]);
  }
});

test("endpoint.rotateSecret puts the given secret in place, or a new one", async () => {
  const app = await newApp();
  const { id } = await newEndpoint(app);
  const secret = async () => (await svix.endpoint.getSecret(app.id, id)).key;
  const first = await secret();
  assert.match(first, /^whsec_[A-Za-z0-9+/]{32}=*/);
  await svix.endpoint.rotateSecret(app.id, id, {});
  const second = await secret();
  assert.notEqual(second, first);
  const third = newSecret();
  await svix.endpoint.rotateSecret(app.id, id, { key: third, gracePeriodSeconds: 60 });
  assert.equal(await secret(), third);
  const options = { idempotencyKey: unique("key") };
  await svix.endpoint.rotateSecret(app.id, id, {}, options);
  const fourth = await secret();
  await svix.endpoint.rotateSecret(app.id, id, {}, options);
  assert.equal(await secret(), fourth, "the same key rotates once");
  await refused(svix.endpoint.rotateSecret(app.id, id, { gracePeriodSeconds: 9_999_999 }), 422, [
    "body",
    "gracePeriodSeconds",
  ]);
});
