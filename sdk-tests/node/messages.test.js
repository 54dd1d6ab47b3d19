import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { generation, key, messageInRaw, newApp, refused, svix, thereAndBack, unique, url } from "./sdk.js";
import { newEndpoint, start, stop } from "./receiver.js";

before(start);
after(stop);

const withContent = { withContent: true };

/** Sends a body as it is, without the SDK. */
async function post(app, body) {
  const response = await fetch(`${url}/api/v1/app/${app.id}/msg`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body,
  });
  return [response.status, await response.json()];
}

test("message.create gives back what it was given", async () => {
  const app = await newApp();
  const given = {
    eventType: "invoice.paid",
    eventId: unique("event"),
    payload: { amount: 1, text: 'Grüße 世界 🦀 \u0000 " \\ \u2028' },
    channels: ["project:1", "a+b"],
    tags: ["my_tag", "other"],
    payloadRetentionPeriod: 5,
  };
  const message = await svix.message.create(app.id, given, withContent);
  assert.match(message.id, /^msg_[A-Za-z0-9]{27}$/);
  for (const field of ["eventType", "eventId", "payload", "channels", "tags"]) {
    assert.deepEqual(message[field], given[field], field);
  }
  assert.ok(Math.abs(message.timestamp - Date.now()) < 60_000);
  assert.deepEqual(await svix.message.get(app.id, message.id, withContent), message);
  assert.deepEqual(await svix.message.get(app.id, given.eventId, withContent), message, "by eventId");
});

test("message.create shows the payload if it is asked to; 2.x does not ask", async () => {
  const app = await newApp();
  const given = { eventType: "a", payload: { a: 1 } };
  const shownAs = async (options) => {
    const made = await svix.message.create(app.id, given, options);
    assert.deepEqual((await svix.message.get(app.id, made.id, options)).payload, made.payload);
    const [listed] = (await svix.message.list(app.id, { limit: 1, ...options })).data;
    assert.deepEqual(listed.payload, made.payload);
    return made.payload;
  };
  assert.deepEqual(await shownAs({ withContent: false }), {});
  assert.deepEqual(await shownAs({ withContent: true }), { a: 1 });
  assert.deepEqual(await shownAs({}), generation === 1 ? { a: 1 } : {});
});

test("message.create with the same idempotency key sends one message", async () => {
  const app = await newApp();
  const { inbox } = await newEndpoint(app);
  const options = { idempotencyKey: unique("key"), ...withContent };
  const given = { eventType: "a", payload: { n: 1 } };
  const first = await svix.message.create(app.id, given, options);
  assert.deepEqual(await svix.message.create(app.id, given, options), first);
  await refused(svix.message.create(app.id, { ...given, payload: {} }, options), 422, ["header", "idempotency-key"]);
  const last = await svix.message.create(app.id, given);
  const arrived = await inbox.wait(2);
  assert.deepEqual(
    arrived.map(({ headers }) => headers["svix-id"]),
    [first.id, last.id],
  );
});

test("message.create refuses what cannot be, and tells where", async () => {
  const app = await newApp();
  const good = { eventType: "a", payload: {} };
  const create = (more) => svix.message.create(app.id, { ...good, ...more });
  const eventId = unique("event");
  await create({ eventId });
  await refused(create({ eventId }), 409, "event_id_taken");
  await refused(svix.message.create(unique("app"), good), 404, "not_found");
  await refused(create({ eventType: "no spaces" }), 422, ["body", "eventType"]);
  await refused(create({ eventType: undefined }), 422, ["body", "eventType"]);
  await refused(create({ payload: undefined }), 422, ["body", "payload"]);
  await refused(create({ channels: [] }), 422, ["body", "channels"]);
  await refused(create({ channels: ["ok", "not ok"] }), 422, ["body", "channels", "1"]);
  await refused(create({ tags: ["1", "2", "3", "4", "5", "6"] }), 422, ["body", "tags"]);
  await refused(create({ deliverAt: new Date(Date.now() + 2 * 86_400_000) }), 422, ["body", "deliverAt"]);
  await refused(create({ payloadRetentionPeriod: 91 }), 422, ["body", "payloadRetentionPeriod"]);
  await refused(create({ payloadRetentionHours: 1, payloadRetentionPeriod: 1 }), 422, [
    "body",
    "payloadRetentionHours",
  ]);
});

test("message.create makes the application it brings along", async () => {
  const uid = unique("uid");
  const message = await svix.message.create(uid, { eventType: "a", payload: {}, application: { name: "new", uid } });
  const app = await svix.application.get(uid);
  assert.equal(app.name, "new");
  assert.equal((await svix.message.get(app.id, message.id)).id, message.id);
});

test("message.create with deliverAt is delivered no sooner", async () => {
  const app = await newApp();
  const { inbox } = await newEndpoint(app);
  const deliverAt = new Date(Date.now() + 400);
  const message = await svix.message.create(app.id, { eventType: "a", payload: { a: 1 }, deliverAt });
  assert.deepEqual(message.deliverAt, deliverAt);
  const later = new Date(Date.now() + 3_600_000);
  await svix.message.create(app.id, { eventType: "a", payload: { b: 2 }, deliverAt: later });
  const [first] = await inbox.wait(1);
  assert.ok(Date.now() >= deliverAt.getTime());
  assert.equal(first.body.toString(), '{"a":1}');
});

test("message.list by every filter, there and back", async () => {
  const app = await newApp();
  const sent = [];
  for (let n = 0; n < 9; n += 1) {
    sent.push(
      await svix.message.create(app.id, {
        eventType: ["a.b", "c.d", "e.f"][n % 3],
        payload: { n },
        channels: n < 4 ? ["blue", "both"] : ["red", "both"],
        tags: n % 2 ? ["odd"] : ["even"],
      }),
    );
  }
  const numbers = async (options) => {
    const all = await thereAndBack((page) => svix.message.list(app.id, { ...withContent, ...options, ...page }), 2);
    return all.map(({ payload }) => payload.n).join("");
  };
  assert.equal(await numbers({}), "876543210");
  assert.equal(await numbers({ channel: "blue" }), "3210");
  assert.equal(await numbers({ channel: "both" }), "876543210");
  assert.equal(await numbers({ channel: "green" }), "");
  assert.equal(await numbers({ tag: "odd" }), "7531");
  assert.equal(await numbers({ eventTypes: ["a.b"] }), "630");
  assert.equal(await numbers({ eventTypes: ["a.b", "e.f"] }), "865320");
  assert.equal(await numbers({ eventTypes: ["a.b", "e.f"], channel: "red", tag: "even" }), "86");
  const [first, last] = [sent[0].timestamp, sent[8].timestamp];
  assert.equal(await numbers({ before: first }), "");
  assert.equal(await numbers({ before: new Date(last.getTime() + 1) }), "876543210");
  assert.equal(await numbers({ after: last }), "");
  assert.equal(await numbers({ after: new Date(first.getTime() - 1) }), "876543210");
  await refused(svix.message.list(app.id, { limit: 0 }), 422, ["query", "limit"]);
  await refused(svix.message.list(app.id, { eventTypes: ["no spaces"] }), 422, ["query", "event_types"]);
});

test("message.get answers 404 for a message of another application", async () => {
  const [mine, other] = [await newApp(), await newApp()];
  const message = await svix.message.create(mine.id, { eventType: "a", payload: {} });
  await refused(svix.message.get(other.id, message.id), 404, "not_found");
  await refused(svix.message.get(mine.id, unique("event")), 404, "not_found");
});

test("message.expungeContent erases the payload", async () => {
  const app = await newApp();
  const { id } = await svix.message.create(app.id, { eventType: "a", payload: { secret: 1 } });
  await svix.message.expungeContent(app.id, id);
  assert.deepEqual((await svix.message.get(app.id, id, withContent)).payload, { expired: true });
});

test("messageInRaw sends a text as it is, with its content type", async () => {
  const app = await newApp();
  const { inbox } = await newEndpoint(app);
  const xml = "<?xml version='1.0'?>\n<größe>\t1 &lt; 2</größe>\n";
  await svix.message.create(app.id, messageInRaw("a", xml, "application/xml; charset=utf-8"));
  const [hook] = await inbox.wait(1);
  assert.equal(hook.body.toString(), xml);
  assert.equal(hook.headers["content-type"], "application/xml; charset=utf-8");
  const spaced = '{ "a" :\t1.0 }';
  await svix.message.create(app.id, messageInRaw("a", spaced));
  const second = (await inbox.wait(2))[1];
  assert.equal(second.body.toString(), spaced);
  assert.equal(second.headers["content-type"], "application/json");
});

test("a payload arrives byte for byte, however it is written", async () => {
  const app = await newApp();
  const { inbox } = await newEndpoint(app);
  const payloads = [
    '{"a":1.10,"a":2e400,"b":-0,"c":12345678901234567890123}',
    '{ "z" : "\\u00e9\\/\\ud83e\\udd80" ,\n\t"a":[ ] }',
    '{"é世界🦀":"é世界🦀\u2028"}',
  ];
  for (const [n, payload] of payloads.entries()) {
    const [status] = await post(app, `{"eventType":"a", "payload":${payload}}`);
    assert.equal(status, 202);
    assert.equal((await inbox.wait(n + 1))[n].body.toString(), payload);
  }
});

test("a big payload arrives whole, and one over the limit is refused", async () => {
  const app = await newApp();
  const { inbox } = await newEndpoint(app);
  const payload = { text: "Größe 世界 🦀 ".repeat(48_000) };
  const bytes = Buffer.from(JSON.stringify(payload));
  assert.ok(bytes.length > 900_000 && bytes.length < 1_048_576);
  const message = await svix.message.create(app.id, { eventType: "a", payload }, withContent);
  assert.deepEqual(message.payload, payload);
  assert.ok(bytes.equals((await inbox.wait(1))[0].body));
  const tooBig = svix.message.create(app.id, { eventType: "a", payload: { text: "x".repeat(1_048_576) } });
  await refused(tooBig, 413, "payload_too_large");
});

test("a body that is no JSON is told by line and column", async () => {
  const [status, body] = await post(await newApp(), '{"eventType": "a",\n "payload": {]}');
  assert.equal(status, 400);
  assert.equal(body.code, "malformed_json");
  assert.match(body.detail, /line 2, column 14/);
});
