import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventually, generation, newApp, refused, svix, thereAndBack, unique, url, key } from "./sdk.js";
import { newEndpoint, start, stop } from "./receiver.js";

before(start);
after(stop);

const SUCCESS = 0;
const PENDING = 1;
const FAIL = 2;
const SENDING = 3;
const CANCELED = 4;

const attempts = svix.messageAttempt;
const hello = { eventType: "a", payload: { a: 1 } };

/** Waits until so many attempts at an endpoint are recorded, and gives them, newest first. */
async function recorded(app, endpoint, count) {
  const list = () => attempts.listByEndpoint(app.id, endpoint.id, { withContent: true, withMsg: true });
  return (await eventually(list, ({ data }) => data.length >= count)).data;
}

/** Waits until a message stands so with the endpoint. */
function stands(app, message, status) {
  const ask = () => attempts.listAttemptedDestinations(app.id, message.id);
  return eventually(ask, ({ data }) => data.length > 0 && data.every((one) => one.status === status));
}

/** Nine messages of one endpoint, numbered; each third one is answered 404 for good. */
async function scene() {
  const app = await newApp();
  const answer = (_, body) => {
    const status = [200, 201, 404][JSON.parse(body).n % 3];
    return [status, {}, `said ${status}`];
  };
  const { endpoint } = await newEndpoint(app, { uid: unique("uid") }, answer);
  const sent = [];
  for (let n = 0; n < 9; n += 1) {
    const message = { eventType: n < 5 ? "first.half" : "second.half", payload: { n } };
    message.channels = n % 2 ? ["odd"] : ["even"];
    message.tags = n < 2 ? ["early"] : ["late"];
    sent.push(await svix.message.create(app.id, message));
  }
  await recorded(app, endpoint, 6 + 3 * 3);
  for (const [n, message] of sent.entries()) await stands(app, message, n % 3 === 2 ? FAIL : SUCCESS);
  return { app, endpoint, sent };
}

test("messageAttempt.listByEndpoint by every filter, there and back", async () => {
  const { app, endpoint, sent } = await scene();
  const count = async (options) => {
    const list = (page) => attempts.listByEndpoint(app.id, endpoint.uid, { ...options, ...page });
    return (await thereAndBack(list, 4)).length;
  };
  assert.equal(await count({}), 15);
  assert.equal(await count({ status: SUCCESS }), 6);
  assert.equal(await count({ status: FAIL }), 9);
  assert.equal(await count({ status: PENDING }), 0);
  assert.equal(await count({ statusCodeClass: 200 }), 6);
  assert.equal(await count({ statusCodeClass: 400 }), 9);
  assert.equal(await count({ statusCodeClass: 500 }), 0);
  assert.equal(await count({ statusCodeClass: 0 }), 0);
  assert.equal(await count({ channel: "odd" }), 6);
  assert.equal(await count({ tag: "early" }), 2);
  assert.equal(await count({ eventTypes: ["second.half"] }), 8);
  assert.equal(await count({ eventTypes: ["first.half", "second.half"] }), 15);
  assert.equal(await count({ before: sent[0].timestamp }), 0);
  assert.equal(await count({ after: new Date(sent[0].timestamp.getTime() - 1) }), 15);
  assert.equal(await count({ after: new Date(Date.now() + 60_000) }), 0);
  assert.equal(await count({ expandedStatuses: false }), 15);
});

test("messageAttempt.listByEndpoint shows answers and messages if it is asked to", async () => {
  const { app, endpoint, sent } = await scene();
  const oneOf = { status: SUCCESS, channel: "odd", eventTypes: ["second.half"] };
  const list = async (options) => {
    const { data } = await attempts.listByEndpoint(app.id, endpoint.id, { ...oneOf, ...options });
    assert.equal(data.length, 1);
    return data;
  };
  const [full] = await list({ withContent: true, withMsg: true });
  assert.match(full.id, /^atmpt_[A-Za-z0-9]{27}$/);
  assert.deepEqual(
    [full.status, full.statusText, full.triggerType, full.endpointId, full.msgId, full.responseStatusCode],
    [SUCCESS, "success", 0, endpoint.id, sent[7].id, 201],
  );
  assert.equal(full.response, "said 201");
  assert.equal(full.url, endpoint.url);
  assert.ok(full.responseDurationMs >= 0 && full.responseDurationMs < 10_000);
  assert.deepEqual([full.msg.id, full.msg.eventType, full.msg.payload], [sent[7].id, "second.half", {}]);
  const [bare] = await list({ withContent: false, withMsg: false });
  assert.deepEqual([bare.response, bare.msg ?? null], ["", null]);
  const [usual] = await list({});
  assert.equal(usual.response, generation === 1 ? "said 201" : "");
});

test("messageAttempt.listByMsg by every filter, there and back", async () => {
  const app = await newApp();
  const good = await newEndpoint(app, { uid: unique("uid") });
  const bad = await newEndpoint(app, {}, () => [500, {}, "no"]);
  const message = await svix.message.create(app.id, {
    ...hello,
    eventId: unique("event"),
    channels: ["c"],
    tags: ["t"],
  });
  await recorded(app, good.endpoint, 1);
  await recorded(app, bad.endpoint, 3);
  const count = async (options) => {
    const list = (page) => attempts.listByMsg(app.id, message.eventId, { ...options, ...page });
    return (await thereAndBack(list, 2)).length;
  };
  assert.equal(await count({}), 4);
  assert.equal(await count({ status: SUCCESS }), 1);
  assert.equal(await count({ status: FAIL }), 3);
  assert.equal(await count({ statusCodeClass: 500 }), 3);
  assert.equal(await count({ statusCodeClass: 300 }), 0);
  assert.equal(await count({ endpointId: good.endpoint.id }), 1);
  assert.equal(await count({ endpointId: good.endpoint.uid }), 1);
  assert.equal(await count({ endpointId: bad.endpoint.id }), 3);
  assert.equal(await count({ channel: "c" }), 4);
  assert.equal(await count({ channel: "d" }), 0);
  assert.equal(await count({ tag: "t" }), 4);
  assert.equal(await count({ tag: "u" }), 0);
  assert.equal(await count({ eventTypes: ["a"] }), 4);
  assert.equal(await count({ eventTypes: ["b"] }), 0);
  assert.equal(await count({ before: message.timestamp }), 0);
  assert.equal(await count({ after: new Date(message.timestamp.getTime() - 1) }), 4);
  const shown = await attempts.listByMsg(app.id, message.id, { withContent: true, expandedStatuses: true });
  assert.deepEqual(new Set(shown.data.map(({ response }) => response)), new Set(["", "no"]));
  await refused(attempts.listByMsg(app.id, message.id, { statusCodeClass: 404 }), 422, ["query", "status_code_class"]);
});

test("messageAttempt.listAttemptedMessages by every filter, there and back", async () => {
  const { app, endpoint, sent } = await scene();
  const numbers = async (options) => {
    const list = (page) =>
      attempts.listAttemptedMessages(app.id, endpoint.id, { withContent: true, ...options, ...page });
    return (await thereAndBack(list, 2)).map(({ payload }) => payload.n).join("");
  };
  assert.equal(await numbers({}), "876543210");
  assert.equal(await numbers({ status: SUCCESS }), "764310");
  assert.equal(await numbers({ status: FAIL }), "852");
  assert.equal(await numbers({ status: SENDING }), "");
  assert.equal(await numbers({ channel: "odd" }), "7531");
  assert.equal(await numbers({ tag: "early" }), "10");
  assert.equal(await numbers({ eventTypes: ["first.half"] }), "43210");
  assert.equal(await numbers({ before: sent[0].timestamp }), "");
  assert.equal(await numbers({ after: new Date(sent[0].timestamp.getTime() - 1) }), "876543210");
  const [usual] = (await attempts.listAttemptedMessages(app.id, endpoint.id, { expandedStatuses: true })).data;
  assert.deepEqual([usual.id, usual.status, usual.statusText], [sent[8].id, FAIL, "fail"]);
  assert.deepEqual(usual.payload, generation === 1 ? { n: 8 } : {});
});

test("messageAttempt.listAttemptedDestinations tells how a message stands with each endpoint", async () => {
  const app = await newApp();
  const good = await newEndpoint(app, { description: "good" });
  const waiting = await newEndpoint(app, {}, () => [503, { "retry-after": "3600" }]);
  await newEndpoint(app, { channels: ["another"] });
  const message = await svix.message.create(app.id, { ...hello });
  await recorded(app, good.endpoint, 1);
  await recorded(app, waiting.endpoint, 1);
  const ask = () => attempts.listAttemptedDestinations(app.id, message.id);
  const { data } = await eventually(ask, ({ data }) => data.some(({ status }) => status === SENDING));
  const found = Object.fromEntries(data.map((one) => [one.id, one]));
  assert.equal(data.length, 2);
  const [done, owed] = [found[good.endpoint.id], found[waiting.endpoint.id]];
  assert.deepEqual(
    [done.status, done.statusText, done.nextAttempt, done.description],
    [SUCCESS, "success", null, "good"],
  );
  assert.deepEqual([owed.status, owed.statusText], [SENDING, "sending"]);
  assert.ok(Math.abs(owed.nextAttempt - Date.now() - 3_600_000) < 30_000, `${owed.nextAttempt}`);
  const all = await thereAndBack((page) => attempts.listAttemptedDestinations(app.id, message.id, page), 1);
  assert.equal(all.length, 2);
});

test("messageAttempt.get shows one, expungeContent erases its answer", async () => {
  const app = await newApp();
  const { endpoint } = await newEndpoint(app, {}, () => [200, {}, "größer 🦀"]);
  const message = await svix.message.create(app.id, hello);
  const [{ id }] = await recorded(app, endpoint, 1);
  const attempt = await attempts.get(app.id, message.id, id);
  assert.deepEqual([attempt.id, attempt.response, attempt.msgId], [id, "größer 🦀", message.id]);
  assert.equal((await attempts.get(app.id, message.id, id, { expandedStatuses: false })).status, SUCCESS);
  await attempts.expungeContent(app.id, message.id, id);
  assert.equal((await attempts.get(app.id, message.id, id)).response, "");
  const other = await svix.message.create(app.id, hello);
  await refused(attempts.get(app.id, other.id, id), 404, "not_found");
  await refused(attempts.get(app.id, message.id, "atmpt_none"), 404, "not_found");
});

test("messageAttempt.resend sends again, by hand", async () => {
  const app = await newApp();
  const { endpoint, inbox } = await newEndpoint(app);
  const message = await svix.message.create(app.id, hello);
  await recorded(app, endpoint, 1);
  const options = { idempotencyKey: unique("key") };
  await attempts.resend(app.id, message.id, endpoint.id, options);
  await attempts.resend(app.id, message.id, endpoint.id, options);
  const [latest] = await recorded(app, endpoint, 2);
  assert.equal(latest.triggerType, 1);
  await attempts.resend(app.id, message.id, endpoint.id);
  await recorded(app, endpoint, 3);
  assert.deepEqual(
    inbox.arrived.map(({ headers }) => headers["webhook-id"]),
    [message.id, message.id, message.id],
  );
  await svix.message.expungeContent(app.id, message.id);
  await refused(attempts.resend(app.id, message.id, endpoint.id), 400, "payload_expired");
});

test("a message that is given up is shown as canceled to those who know that word", async () => {
  const app = await newApp();
  const { endpoint } = await newEndpoint(app, {}, () => [503, { "retry-after": "3600" }]);
  const message = await svix.message.create(app.id, hello);
  await stands(app, message, SENDING);
  await svix.message.expungeContent(app.id, message.id);
  await stands(app, message, CANCELED);
  const status = async (options) => (await attempts.listAttemptedMessages(app.id, endpoint.id, options)).data[0].status;
  assert.equal(await status({ expandedStatuses: true }), CANCELED);
  assert.equal(await status({ expandedStatuses: false }), SUCCESS);
  assert.equal(await status({}), CANCELED, "both generations of the SDK know it");
});

test("the older paths of both lists of attempts answer the same", async () => {
  const app = await newApp();
  const { endpoint } = await newEndpoint(app);
  const message = await svix.message.create(app.id, hello);
  await recorded(app, endpoint, 1);
  const get = async (path) => {
    const response = await fetch(`${url}/api/v1/app/${app.id}${path}`, { headers: { authorization: `Bearer ${key}` } });
    assert.equal(response.status, 200);
    return response.json();
  };
  const wanted = await get(`/attempt/msg/${message.id}`);
  assert.equal(wanted.data.length, 1);
  assert.deepEqual(await get(`/msg/${message.id}/attempt`), wanted);
  assert.deepEqual(await get(`/msg/${message.id}/endpoint/${endpoint.id}/attempt`), wanted);
});
