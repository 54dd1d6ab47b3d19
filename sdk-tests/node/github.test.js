// Real input: every example payload of GitHub's webhooks, twice.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { after, before, test } from "node:test";
import { generation, key, newApp, svix, url } from "./sdk.js";
import { newEndpoint, start, stop } from "./receiver.js";

before(start);
after(stop);

const folder = path.dirname(createRequire(import.meta.url).resolve("@octokit/webhooks-examples/package.json"));
const examples = readdirSync(folder)
  .map((name) => path.join(folder, name, "index.json"))
  .flatMap((file) => {
    try {
      return JSON.parse(readFileSync(file, "utf8"));
    } catch (error) {
      if (error.code === "ENOENT" || error.code === "ENOTDIR") return [];
      throw error;
    }
  })
  .flatMap(({ name, examples }) => examples.map((payload) => ({ eventType: `github.${name}`, payload })));

/** Sends all, a few at a time, and sees that each arrives as the bytes that `send` says it sent. */
async function sendAll(t, send) {
  const app = await newApp();
  const { inbox } = await newEndpoint(app);
  const sent = new Map();
  const queue = [...examples];
  const sender = async () => {
    for (let next = queue.pop(); next; next = queue.pop()) {
      const [id, bytes] = await send(app, next);
      sent.set(id, bytes);
    }
  };
  await Promise.all(Array.from({ length: 8 }, sender));
  const arrived = await inbox.wait(examples.length);
  assert.equal(arrived.length, examples.length);
  for (const { headers, body } of arrived) {
    const bytes = sent.get(headers["webhook-id"]);
    assert.ok(bytes.equals(body), `${headers["webhook-id"]} arrived as ${body}`);
    sent.delete(headers["webhook-id"]);
  }
  assert.equal(sent.size, 0);
  const total = arrived.reduce((sum, { body }) => sum + body.length, 0);
  t.diagnostic(`${arrived.length} payloads of GitHub, ${total} bytes, arrived byte for byte`);
}

const once = { skip: generation === 1 && "node2 sends them" };

test("there are more than 300 payloads", () => {
  assert.ok(examples.length > 300, `${examples.length}`);
});

test("every payload of GitHub, sent by the SDK, arrives byte for byte", once, (t) =>
  sendAll(t, async (app, message) => {
    const { id } = await svix.message.create(app.id, message);
    return [id, Buffer.from(JSON.stringify(message.payload))];
  }),
);

test("every payload of GitHub, sent with spaces and escapes, arrives byte for byte", once, (t) =>
  sendAll(t, async (app, { eventType, payload }) => {
    // What JSON.stringify would not write: indented, and in ASCII alone.
    const text = JSON.stringify(payload, null, 2).replace(
      /[\u0080-\uffff]/g,
      (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
    const response = await fetch(`${url}/api/v1/app/${app.id}/msg?with_content=false`, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: `{"payload": ${text}, "eventType": "${eventType}"}`,
    });
    assert.equal(response.status, 202);
    return [(await response.json()).id, Buffer.from(text)];
  }),
);
