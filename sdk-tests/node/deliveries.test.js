import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventually, eventTypesField, newApp, refused, svix, unique } from "./sdk.js";
import {
  checkHook,
  checkRefused,
  ed25519Signatures,
  Inbox,
  newEndpoint,
  newKeyPair,
  newSecret,
  start,
  stop,
} from "./receiver.js";

before(start);
after(stop);

const hello = { eventType: "a", payload: { text: "Grüße 🦀" } };

test("a webhook is signed by both families of headers", async () => {
  const app = await newApp();
  const { inbox } = await newEndpoint(app);
  const [secret] = inbox.secrets;
  const message = await svix.message.create(app.id, hello);
  const [{ method, headers, body }] = await inbox.wait(1);
  assert.equal(method, "POST");
  assert.equal(headers["svix-id"], message.id);
  assert.equal(headers["content-type"], "application/json");
  assert.match(headers["user-agent"], /^pushpull\//i);
  assert.ok(Math.abs(headers["webhook-timestamp"] - Date.now() / 1000) < 60);
  checkHook(secret, { headers, body });
  // Where it stands: in the queue of its endpoint, and in the log of its application.
  assert.deepEqual([headers["pushpull-seq"], headers["pushpull-position"]], ["1", "1"]);
  // What a verifier must refuse: another secret, another time, another id.
  checkRefused(newSecret(), body, headers);
  for (const changed of [{ timestamp: `${Number(headers["svix-timestamp"]) + 1}` }, { id: "msg_another" }]) {
    const [[name, value]] = Object.entries(changed);
    checkRefused(secret, body, { ...headers, [`svix-${name}`]: value, [`webhook-${name}`]: value });
  }
});

test("a secret that the server made verifies too", async () => {
  const app = await newApp();
  const inbox = new Inbox();
  const endpoint = await svix.endpoint.create(app.id, { url: inbox.url });
  inbox.secrets = [(await svix.endpoint.getSecret(app.id, endpoint.id)).key];
  await svix.message.create(app.id, hello);
  await inbox.wait(1);
});

test("after a rotation the old and the new secret both verify, for as long as was said", async () => {
  const app = await newApp();
  const { endpoint, inbox } = await newEndpoint(app);
  const [old] = inbox.secrets;
  const secret = newSecret();
  await svix.endpoint.rotateSecret(app.id, endpoint.id, { key: secret, gracePeriodSeconds: 3_600 });
  inbox.secrets = [old, secret];
  await svix.message.create(app.id, hello);
  await inbox.wait(1);
  assert.equal(inbox.arrived[0].headers["svix-signature"].split(" ").length, 2);

  const last = newSecret();
  await svix.endpoint.rotateSecret(app.id, endpoint.id, { key: last, gracePeriodSeconds: 0 });
  inbox.secrets = [last];
  await svix.message.create(app.id, hello);
  const { headers, body } = (await inbox.wait(2))[1];
  checkRefused(secret, body, headers);
});

test("an ed25519 signature verifies by the public key", async () => {
  const app = await newApp();
  const [secret, key] = newKeyPair();
  const { endpoint, inbox } = await newEndpoint(app, { secret });
  assert.deepEqual(await svix.endpoint.getSecret(app.id, endpoint.id), { key }, "the private half is shown to nobody");
  await svix.message.create(app.id, hello);
  const [hook] = await inbox.wait(1);
  assert.equal(ed25519Signatures(key, hook).length, 1);
  assert.equal(ed25519Signatures(key, { ...hook, body: Buffer.from("{}") }).length, 0);
});

test("a rotation from HMAC to ed25519 signs in both ways meanwhile", async () => {
  const app = await newApp();
  const { endpoint, inbox } = await newEndpoint(app);
  const [secret, key] = newKeyPair();
  await svix.endpoint.rotateSecret(app.id, endpoint.id, { key: secret });
  await svix.message.create(app.id, hello);
  const [hook] = await inbox.wait(1);
  assert.equal(ed25519Signatures(key, hook).length, 1);
});

test("custom headers come along, and a 410 disables the endpoint", async () => {
  const app = await newApp();
  const headers = { "X-Tenant": 'a; b="c"', Authorization: "Bearer s3cret" };
  const { endpoint, inbox } = await newEndpoint(app, { headers }, () => [410]);
  await svix.message.create(app.id, hello);
  const [hook] = await inbox.wait(1);
  assert.equal(hook.headers["x-tenant"], headers["X-Tenant"]);
  assert.equal(hook.headers.authorization, "Bearer s3cret");
  await eventually(
    () => svix.endpoint.get(app.id, endpoint.id),
    ({ disabled }) => disabled,
  );
});

test("a failed webhook is sent again with the same id, until it is taken", async () => {
  const app = await newApp();
  const { inbox } = await newEndpoint(app, {}, (n) => [n < 2 ? 500 : 200]);
  const { id } = await svix.message.create(app.id, hello);
  const arrived = await inbox.wait(3);
  assert.deepEqual(
    arrived.map(({ headers }) => headers["svix-id"]),
    [id, id, id],
  );
});

test("an endpoint gets the messages of its event types and channels, and no other", async () => {
  const app = await newApp();
  const all = await newEndpoint(app);
  const byType = await newEndpoint(app, { [eventTypesField]: ["a.b"] });
  const byChannel = await newEndpoint(app, { channels: ["red", "blue"] });
  const disabled = await newEndpoint(app, { disabled: true });
  const sent = [];
  for (const [eventType, channels] of [["a.b"], ["c.d"], ["a.b", ["red"]], ["c.d", ["green", "blue"]]]) {
    sent.push((await svix.message.create(app.id, { eventType, payload: {}, channels })).id);
  }
  const ids = async (inbox, count) => (await inbox.wait(count)).map(({ headers }) => headers["svix-id"]).sort();
  assert.deepEqual(await ids(all.inbox, 4), [...sent].sort());
  assert.deepEqual(await ids(byType.inbox, 2), [sent[0], sent[2]].sort());
  assert.deepEqual(await ids(byChannel.inbox, 2), [sent[2], sent[3]].sort());
  assert.deepEqual(await ids(disabled.inbox, 0), []);
});

test("endpoint.sendExample sends the event type's example to one endpoint", async () => {
  const app = await newApp();
  const { endpoint, inbox } = await newEndpoint(app);
  const other = await newEndpoint(app);
  const eventType = unique("type");
  const examples = [{ n: 0 }, { n: 1, text: "世界" }];
  await svix.eventType.create({ name: eventType, description: "d", schemas: { 1: { type: "object", examples } } });
  const options = { idempotencyKey: unique("key") };
  const message = await svix.endpoint.sendExample(app.id, endpoint.id, { eventType, exampleIndex: 1 }, options);
  const again = await svix.endpoint.sendExample(app.id, endpoint.id, { eventType, exampleIndex: 1 }, options);
  assert.deepEqual(again, message);
  assert.deepEqual(message.payload, examples[1]);
  const [hook] = await inbox.wait(1);
  assert.deepEqual(JSON.parse(hook.body), examples[1]);
  assert.equal(other.inbox.arrived.length, 0);
  const ping = await svix.endpoint.sendExample(app.id, endpoint.id, { eventType: "svix.ping" });
  assert.deepEqual(ping.payload, { success: true });
  await refused(svix.endpoint.sendExample(app.id, endpoint.id, { eventType, exampleIndex: 7 }), 422, [
    "body",
    "exampleIndex",
  ]);
  await refused(svix.endpoint.sendExample(app.id, endpoint.id, { eventType: unique("none") }), 404, "not_found");
});

test("endpoint.recover sends again what failed, and getStats counts how deliveries stand", async () => {
  const app = await newApp();
  let broken = true;
  const { endpoint, inbox } = await newEndpoint(app, {}, () => [broken ? 500 : 200]);
  const start = new Date();
  const sent = [];
  for (let n = 0; n < 3; n += 1) sent.push((await svix.message.create(app.id, hello)).id);
  const stats = (options) => svix.endpoint.getStats(app.id, endpoint.id, options);
  await eventually(stats, ({ fail }) => fail === 3);
  broken = false;
  const until = new Date(Date.now() + 1000);
  const options = { idempotencyKey: unique("key") };
  const task = await svix.endpoint.recover(app.id, endpoint.id, { since: start, until }, options);
  assert.match(task.id, /^qtask_[A-Za-z0-9]{27}$/);
  assert.deepEqual([task.status, task.task], ["running", "endpoint.recover"]);
  assert.deepEqual(await svix.endpoint.recover(app.id, endpoint.id, { since: start, until }, options), task);
  const arrived = await inbox.wait(3 * 3 + 3);
  assert.deepEqual(
    arrived
      .slice(9)
      .map(({ headers }) => headers["svix-id"])
      .sort(),
    [...sent].sort(),
  );
  const counted = await eventually(stats, ({ success }) => success === 3);
  assert.deepEqual({ ...counted, canceled: 0 }, { success: 3, pending: 0, sending: 0, fail: 0, canceled: 0 });
  assert.equal(
    (await stats({ since: new Date(Date.now() + 60_000), until: new Date(Date.now() + 120_000) })).success,
    0,
  );
  assert.equal((await stats({ since: start, until: new Date(Date.now() + 60_000) })).success, 3);
  const future = { since: new Date(Date.now() + 3_600_000) };
  await refused(svix.endpoint.recover(app.id, endpoint.id, future), 422, ["body", "since"]);
});
