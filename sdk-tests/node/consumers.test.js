import assert from "node:assert/strict";
import { test } from "node:test";
import { generation, key, newApp, refused, svix, unique, url } from "./sdk.js";

const { AutoConfigConsumer } = await import(`svix${generation}`);

// An endpoint of any kind can be read; one that is pushed to is read as a copy.
async function newQueue(count) {
  const app = await newApp();
  const queue = await svix.endpoint.create(app.id, { url: "https://127.0.0.1/hook", uid: unique("uid") });
  const sent = [];
  for (let n = 0; n < count; n++) {
    sent.push((await svix.message.create(app.id, { eventType: "a", payload: { n } })).id);
  }
  return { app, queue, sent };
}

const ids = (page) => page.data.map((message) => message.id);

test("message.poller.consumerPoll goes on where the consumer is", async () => {
  const { app, queue, sent } = await newQueue(3);
  const read = (options) => svix.message.poller.consumerPoll(app.id, queue.id, "billing", options);
  const first = await read({ limit: 2 });
  assert.deepEqual([ids(first), first.done], [sent.slice(0, 2), false]);
  assert.deepEqual(ids(await read({ limit: 1 })), [sent[0]], "nobody said that it was handled");
  const rest = await read({ iterator: first.iterator });
  assert.deepEqual([ids(rest), rest.done], [[sent[2]], true]);
  assert.deepEqual(ids(await read()), [sent[2]], "a process that was started anew");
  assert.deepEqual(ids(await read({ iterator: rest.iterator })), []);
});

test("message.poller.consumerSeek puts a consumer back", async () => {
  const { app, queue, sent } = await newQueue(2);
  const read = (options) => svix.message.poller.consumerPoll(app.id, queue.id, "billing", options);
  await read({ iterator: (await read()).iterator });
  const after = new Date(Date.now() - 60_000);
  const { iterator } = await svix.message.poller.consumerSeek(app.id, queue.id, "billing", { after });
  assert.deepEqual(ids(await read({ iterator })), sent);
  const later = { after: new Date(Date.now() + 60_000) };
  await refused(svix.message.poller.consumerSeek(app.id, queue.id, "billing", later), 422, ["body", "after"]);
});

test("message.poller.consumerPoll refuses an iterator as the bridge wants it, and goes on without", async () => {
  const { app, queue, sent } = await newQueue(1);
  const read = (options) => svix.message.poller.consumerPoll(app.id, queue.id, "billing", options);
  await refused(read({ iterator: "made-up" }), 400, "invalid_iterator");
  assert.deepEqual(ids(await read()), sent);
});

test("AutoConfigConsumer receives under a lease and commits", async () => {
  const { app, queue, sent } = await newQueue(3);
  const { key: esec } = await svix.endpoint.getSecret(app.id, queue.id);
  const content = { aid: app.id, eid: queue.id, surl: url, esec, tok: key };
  const token = `auto_v1_${Buffer.from(JSON.stringify(content)).toString("base64")}`;
  const consumer = new AutoConfigConsumer(token, {});
  const lease = { limit: 2, leaseDurationMs: 1_000, startingPosition: "earliest" };
  const first = await consumer.receive("billing", lease);
  assert.deepEqual([ids(first), first.done], [sent.slice(0, 2), false]);
  assert.deepEqual(first.data.map((message) => message.offset), [1, 2]);
  assert.deepEqual(ids(await consumer.receive("billing", lease)), [], "one at a time");
  await refused(consumer.commit("billing", 3), 422, ["body", "offset"]);
  await consumer.commit("billing", first.data[1].offset);
  const rest = await consumer.receive("billing", lease);
  assert.deepEqual([ids(rest), rest.done], [[sent[2]], true]);
});
