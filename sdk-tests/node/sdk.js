// The SDK under test, picked by SVIX=1 or SVIX=2, and what the two call differently.

import assert from "node:assert/strict";
import { randomUUID, webcrypto } from "node:crypto";

// svix wants it as a global, which Node 18 does not have.
globalThis.crypto ??= webcrypto;

export const generation = Number(process.env.SVIX);
export const { Svix, Webhook, ApiException, messageInRaw } = await import(`svix${generation}`);

export const url = process.env.SDK_URL;
export const key = process.env.SDK_KEY;
export const svix = client(key);

export function client(token) {
  return new Svix(token, { serverUrl: url });
}

// 1.x says "update" where 2.x says "upsert", and filters by "filterTypes" where 2.x has "eventTypes".
export const upsert = generation === 1 ? "update" : "upsert";
export const setHeaders = generation === 1 ? "updateHeaders" : "setHeaders";
export const eventTypesField = generation === 1 ? "filterTypes" : "eventTypes";

/** A name that no other test uses. */
export function unique(prefix) {
  return `${prefix}-${randomUUID().slice(0, 8)}`;
}

/** A fresh application. */
export function newApp(more = {}) {
  return svix.application.create({ name: unique("app"), ...more });
}

/** What the SDK throws for this status; for 422, where the fault is. */
export async function refused(promise, status, code) {
  const error = await promise.then(
    (value) => assert.fail(`taken: ${JSON.stringify(value)}`),
    (error) => error,
  );
  assert.ok(error instanceof ApiException, String(error));
  assert.equal(error.code, status, JSON.stringify(error.body));
  if (status === 422) {
    const [fault] = error.body.detail;
    assert.deepEqual(Object.keys(fault).sort(), ["loc", "msg", "type"]);
    assert.deepEqual(fault.loc, code);
  } else {
    assert.deepEqual(Object.keys(error.body).sort(), ["code", "detail"]);
    assert.equal(error.body.code, code);
    assert.ok(error.body.detail.length > 5);
  }
  return error;
}

/** Asks again until the answer is as wanted, for at most ten seconds. */
export async function eventually(ask, wanted) {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const answer = await ask();
    if (wanted(answer)) return answer;
    if (Date.now() > deadline) assert.fail(`never so: ${wanted} of ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/**
 * Reads a whole list in pages of `limit`, then goes back by `prevIterator`, and gives the items.
 * `list` takes the options of a page.
 */
export async function thereAndBack(list, limit, id = (item) => item.id) {
  const there = [];
  const back = [];
  let page = await list({ limit });
  for (;;) {
    there.push(page.data);
    assert.ok(page.data.length <= limit);
    if (page.done) break;
    assert.equal(page.data.length, limit, "only the last page may be short");
    page = await list({ limit, iterator: page.iterator });
  }
  back.unshift(page.data);
  while (back.length < there.length) {
    page = await list({ limit, iterator: page.prevIterator });
    back.unshift(page.data);
  }
  assert.ok(page.done, "the first page, reached from behind, is the end of that way");
  const items = there.flat();
  assert.deepEqual(back.flat().map(id), items.map(id));
  assert.equal(new Set(items.map(id)).size, items.length, "an item twice");
  return items;
}
