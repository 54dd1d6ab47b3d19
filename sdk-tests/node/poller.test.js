import assert from "node:assert/strict";
import { test } from "node:test";
import { client, key, newApp, refused, svix, unique, url } from "./sdk.js";

// An endpoint of any kind can be read; SDKs of 1.x can make no other.
async function newQueue(app) {
  return svix.endpoint.create(app.id, { url: "https://127.0.0.1/hook", uid: unique("uid") });
}

async function send(app, eventType, more = {}) {
  return svix.message.create(app.id, { eventType, payload: { of: eventType }, ...more });
}

test("message.poller.poll reads a queue in pages", async () => {
  const app = await newApp();
  const queue = await newQueue(app);
  const empty = await svix.message.poller.poll(app.id, queue.id);
  assert.deepEqual([empty.data, empty.done], [[], true]);
  const eventId = unique("evt");
  const sent = [
    await send(app, "a", { eventId, channels: ["eu"], tags: ["march"] }),
    await send(app, "b"),
    await send(app, "c"),
  ];
  const first = await svix.message.poller.poll(app.id, queue.uid, { limit: 2 });
  assert.deepEqual(first.data.map((message) => message.id), [sent[0].id, sent[1].id]);
  assert.equal(first.done, false);
  const [message] = first.data;
  assert.deepEqual(message.payload, { of: "a" });
  assert.deepEqual([message.eventType, message.eventId], ["a", eventId]);
  assert.deepEqual([message.channels, message.tags], [["eu"], ["march"]]);
  assert.ok(Math.abs(message.timestamp - Date.now()) < 60_000);
  const { iterator } = first;
  const rest = await svix.message.poller.poll(app.id, queue.id, { iterator });
  assert.deepEqual([rest.data.map((message) => message.id), rest.done], [[sent[2].id], true]);
  // The iterator of the first answer, which had nothing, is a place too.
  const again = await svix.message.poller.poll(app.id, queue.id, { iterator: empty.iterator });
  assert.equal(again.data.length, 3);
});

test("message.poller.poll filters", async () => {
  const app = await newApp();
  const queue = await newQueue(app);
  await send(app, "a", { channels: ["eu"] });
  await send(app, "b", { channels: ["us"] });
  const read = async (options) =>
    (await svix.message.poller.poll(app.id, queue.id, options)).data.map((message) => message.eventType);
  assert.deepEqual(await read({ eventType: "b" }), ["b"]);
  assert.deepEqual(await read({ channel: "eu" }), ["a"]);
  assert.deepEqual(await read({ after: new Date(Date.now() - 60_000) }), ["a", "b"]);
});

test("message.poller.poll refuses what is no place, as the bridge wants it", async () => {
  const app = await newApp();
  const [queue, other] = [await newQueue(app), await newQueue(app)];
  const { iterator } = await svix.message.poller.poll(app.id, other.id);
  for (const wrong of ["made-up", iterator]) {
    await refused(svix.message.poller.poll(app.id, queue.id, { iterator: wrong }), 400, "invalid_iterator");
  }
  await refused(svix.message.poller.poll(app.id, queue.id, { limit: 0 }), 422, ["query", "limit"]);
  await refused(svix.message.poller.poll(app.id, "ep_of_nobody"), 404, "not_found");
});

test("message.poller.poll with the endpoint's own token, which opens nothing else", async () => {
  const app = await newApp();
  const [queue, other] = [await newQueue(app), await newQueue(app)];
  await send(app, "a");
  // No SDK has a call for it.
  const asked = await fetch(`${url}/api/v1/auth/app/${app.id}/poller/${queue.id}/token`, {
    headers: { authorization: `Bearer ${key}` },
  });
  const reader = client((await asked.json()).token);
  assert.equal((await reader.message.poller.poll(app.id, queue.id)).data.length, 1);
  await refused(reader.message.poller.poll(app.id, other.id), 404, "not_found");
  await refused(reader.endpoint.list(app.id), 403, "insufficient_scope");
});
