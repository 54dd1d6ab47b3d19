// A receiver of webhooks that verifies each on arrival, with every verifier there is for this language.

import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync, randomBytes, verify as verifyEd25519 } from "node:crypto";
import http from "node:http";
import { Webhook as StandardWebhook } from "standardwebhooks";
import { Webhook, svix, unique } from "./sdk.js";

const inboxes = new Map();
const server = http.createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const inbox = inboxes.get(request.url);
  const [status, headers, body] = inbox ? inbox.take(request, Buffer.concat(chunks)) : [404, {}, ""];
  response.writeHead(status, headers).end(body);
});

/** How many webhooks arrived, each verified. */
export let verified = 0;

export async function start() {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
}

/** Ends the receiver. What was found wrong on arrival fails the test that ends it. */
export async function stop(t) {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  const faults = [...inboxes.values()].flatMap((inbox) => inbox.faults);
  assert.deepEqual(faults, []);
  t?.diagnostic(`${verified} webhooks arrived, each verified by svix and by standardwebhooks`);
}

/** A secret for HMAC. */
export function newSecret() {
  return `whsec_${randomBytes(32).toString("base64")}`;
}

/** A secret for ed25519: the seed and the public key, which are the ends of their documents (RFC 8410). */
export function newKeyPair() {
  const pair = generateKeyPairSync("ed25519");
  const seed = pair.privateKey.export({ format: "der", type: "pkcs8" }).subarray(-32);
  const publicBytes = pair.publicKey.export({ format: "der", type: "spki" }).subarray(-32);
  return [`whsk_${Buffer.concat([seed, publicBytes]).toString("base64")}`, `whpk_${publicBytes.toString("base64")}`];
}

/** A path of the receiver, what arrived there, and what it answers. */
export class Inbox {
  path = `/${unique("inbox")}`;
  arrived = [];
  faults = [];
  /** Those that must all verify what arrives. */
  secrets = [];
  waiting = [];

  /** `answer(n, body)`: status, headers and text for the nth webhook, from 0. */
  constructor(answer = () => [204]) {
    this.answer = answer;
    inboxes.set(this.path, this);
  }

  get url() {
    return `http://127.0.0.1:${server.address().port}${this.path}`;
  }

  take(request, body) {
    const hook = { method: request.method, headers: request.headers, raw: request.rawHeaders, body };
    try {
      for (const secret of this.secrets) checkHook(secret, hook);
      verified += 1;
    } catch (error) {
      this.faults.push(`${this.path}: ${error.stack}`);
    }
    const [status, headers = {}, text = ""] = this.answer(this.arrived.length, body);
    this.arrived.push(hook);
    this.waiting.splice(0).forEach((wake) => wake());
    return [status, headers, text];
  }

  /** Waits until `count` webhooks have arrived, and gives them. */
  async wait(count) {
    const deadline = AbortSignal.timeout(10_000);
    while (this.arrived.length < count) {
      await new Promise((resolve, reject) => {
        this.waiting.push(resolve);
        deadline.onabort = () => reject(new Error(`${this.arrived.length} of ${count} webhooks arrived`));
      });
    }
    return this.arrived;
  }
}

/** An endpoint whose webhooks arrive in an inbox and are verified there. */
export async function newEndpoint(app, more = {}, answer = undefined) {
  const inbox = new Inbox(answer);
  const secret = more.secret ?? newSecret();
  inbox.secrets = secret.startsWith("whsec_") ? [secret] : [];
  const endpoint = await svix.endpoint.create(app.id, { url: inbox.url, ...more, secret });
  return { endpoint, inbox };
}

/** Verifies a webhook by both families of headers, and sees that the same verifiers refuse a changed one. */
export function checkHook(secret, { headers, body }) {
  for (const family of ["svix", "webhook"]) {
    const signed = only(headers, family);
    verifyWith(new Webhook(secret), body, signed);
    verifyWith(new StandardWebhook(secret), body, asStandard(signed));
  }
  for (const name of ["id", "timestamp", "signature"])
    assert.equal(headers[`svix-${name}`], headers[`webhook-${name}`]);
  checkRefused(secret, Buffer.concat([body, Buffer.from(" ")]), headers);
}

/** Sees that no verifier takes this. */
export function checkRefused(secret, body, headers) {
  for (const Verifier of [Webhook, StandardWebhook]) {
    assert.throws(() => verifyWith(new Verifier(secret), body, headers), /No matching signature/);
  }
}

/** The body as text, which is what both verifiers sign; that of a webhook that is no JSON is not parsed. */
function verifyWith(verifier, body, headers) {
  try {
    verifier.verify(body.toString("utf8"), headers);
  } catch (error) {
    // 1.x parses what it has verified.
    if (!(error instanceof SyntaxError)) throw error;
  }
}

function only(headers, family) {
  const names = ["id", "timestamp", "signature"].map((name) => `${family}-${name}`);
  return Object.fromEntries(names.map((name) => [name, headers[name]]));
}

function asStandard(headers) {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.replace("svix-", "webhook-"), value]));
}

/** The `v1a` signatures of a webhook that an ed25519 public key (`whpk_...`) verifies. */
export function ed25519Signatures(publicKey, { headers, body }) {
  const raw = Buffer.from(publicKey.replace("whpk_", ""), "base64");
  assert.equal(raw.length, 32);
  // An SPKI document is this prefix and the 32 bytes (RFC 8410).
  const der = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), raw]);
  const keyObject = createPublicKey({ key: der, format: "der", type: "spki" });
  const signed = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`), body]);
  return headers["webhook-signature"]
    .split(" ")
    .filter((text) => text.startsWith("v1a,"))
    .map((text) => Buffer.from(text.slice("v1a,".length), "base64"))
    .filter((signature) => verifyEd25519(null, signed, keyObject, signature));
}
