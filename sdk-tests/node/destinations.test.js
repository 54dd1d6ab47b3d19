import assert from "node:assert/strict";
import { test } from "node:test";
import { generation, newApp, refused, svix, thereAndBack, unique } from "./sdk.js";
import { newSecret } from "./receiver.js";

const skip = generation === 1 && "not in 1.x";
const url = "https://127.0.0.1/hook";

test("destination.create makes an endpoint that is read", { skip }, async () => {
  const app = await newApp();
  const given = {
    type: "pollingEndpoint",
    uid: unique("uid"),
    eventTypes: ["a"],
    channels: ["eu"],
    metadata: { owner: "é" },
    batchSize: 1,
    maxWaitSecs: 0,
  };
  const made = await svix.destination.create(app.id, given);
  for (const field of Object.keys(given)) assert.deepEqual(made[field], given[field], field);
  assert.equal(made.status, "enabled");
  assert.deepEqual(await svix.destination.get(app.id, given.uid), made);
  assert.equal((await svix.endpoint.get(app.id, given.uid)).id, made.id);
  await svix.message.create(app.id, { eventType: "a", channels: ["eu"], payload: { n: 1 } });
  await svix.message.create(app.id, { eventType: "b", channels: ["eu"], payload: { n: 2 } });
  const page = await svix.message.poller.poll(app.id, made.id, { iterator: made.currentIterator });
  assert.deepEqual([page.data.map((message) => message.payload), page.done], [[{ n: 1 }], true]);
});

test("destination.create makes an endpoint that is pushed in order", { skip }, async () => {
  const app = await newApp();
  const secret = newSecret();
  const made = await svix.destination.create(app.id, {
    type: "fifoEndpoint",
    config: { url, headers: { "X-Tenant": "7", Authorization: "Bearer secret" }, key: secret },
    eventTypes: [],
  });
  assert.equal(made.type, "fifoEndpoint");
  assert.equal(made.config.url, url);
  assert.deepEqual(made.config.headers.headers, { "x-tenant": "7" });
  assert.deepEqual([...made.config.headers.sensitive], ["authorization"]);
  assert.equal(made.eventTypes, undefined);
  assert.deepEqual(await svix.endpoint.getSecret(app.id, made.id), { key: secret });
});

test("destination.create with the same idempotency key makes one", { skip }, async () => {
  const app = await newApp();
  const options = { idempotencyKey: unique("key") };
  const create = () => svix.destination.create(app.id, { type: "pollingEndpoint" }, options);
  assert.deepEqual(await create(), await create());
  assert.equal((await svix.destination.list(app.id)).data.length, 1);
});

test("destination.create refuses what it does not do, by name", { skip }, async () => {
  const app = await newApp();
  const create = (given) => svix.destination.create(app.id, given);
  await refused(create({ type: "sqs", config: {} }), 422, ["body", "type"]);
  await refused(create({ type: "pollingEndpoint", batchSize: 2 }), 422, ["body", "batchSize"]);
  await refused(create({ type: "fifoEndpoint", config: { url }, maxWaitSecs: 999 }), 422, ["body", "maxWaitSecs"]);
  await refused(create({ type: "fifoEndpoint", config: { url: "ftp://a" } }), 422, ["body", "config", "url"]);
});

test("destination.list goes there and back, in both orders", { skip }, async () => {
  const app = await newApp();
  await svix.endpoint.create(app.id, { url });
  for (let n = 0; n < 5; n += 1) await svix.destination.create(app.id, { type: "pollingEndpoint" });
  const up = await thereAndBack((page) => svix.destination.list(app.id, page), 2);
  const down = await thereAndBack((page) => svix.destination.list(app.id, { ...page, order: "descending" }), 2);
  assert.equal(up.length, 5);
  assert.deepEqual(down.map((one) => one.id).reverse(), up.map((one) => one.id));
});

test("destination.upsert makes and replaces", { skip }, async () => {
  const app = await newApp();
  const uid = unique("uid");
  const made = await svix.destination.upsert(app.id, uid, { type: "fifoEndpoint", config: { url }, channels: ["a"] });
  const other = `${url}/other`;
  const replaced = await svix.destination.upsert(app.id, uid, { type: "fifoEndpoint", config: { url: other } });
  assert.equal(replaced.id, made.id);
  assert.equal(replaced.config.url, other);
  assert.equal(replaced.channels, undefined);
  await refused(svix.destination.upsert(app.id, uid, { type: "pollingEndpoint" }), 422, ["body", "type"]);
});

test("destination.patch changes what it is given", { skip }, async () => {
  const app = await newApp();
  const made = await svix.destination.create(app.id, { type: "fifoEndpoint", config: { url }, channels: ["a"] });
  const other = `${url}/other`;
  const changed = await svix.destination.patch(app.id, made.id, {
    type: "fifoEndpoint",
    config: { url: other },
    status: "disabled",
    metadata: { a: "b" },
  });
  assert.deepEqual([changed.config.url, changed.status, changed.channels], [other, "disabled", ["a"]]);
  assert.deepEqual(changed.metadata, { a: "b" });
});

test("destination.delete deletes the endpoint", { skip }, async () => {
  const app = await newApp();
  const made = await svix.destination.create(app.id, { type: "pollingEndpoint" });
  await svix.destination.delete(app.id, made.id);
  await refused(svix.destination.get(app.id, made.id), 404, "not_found");
  await refused(svix.endpoint.get(app.id, made.id), 404, "not_found");
});
