// Reads a queue as a consumer:   FEED=.../poller/ENDPOINT/consumer/NAME KEY=... node reader.mjs
const { FEED, KEY } = process.env;
const pause = () => new Promise((resolve) => setTimeout(resolve, 1000));

// Your work. After a crash it may see a message again: with the same id.
async function handle(message) {
  console.log(message.seq, message.id);
}

// The next page: what comes after the iterator. Sending it says that everything before it was handled.
async function read(iterator) {
  const query = new URLSearchParams({ limit: 50, wait: 30, ...(iterator && { iterator }) });
  const options = { headers: { authorization: `Bearer ${KEY}` }, signal: AbortSignal.timeout(60_000) };
  const answer = await fetch(`${FEED}?${query}`, options);
  return { status: answer.status, body: await answer.json().catch(() => ({})) };
}

let iterator;
for (;;) {
  // No answer at all is as good as one that says: not now.
  const { status, body } = await read(iterator).catch(() => ({ status: 503, body: {} }));
  if (status === 200) {
    if (body.gap) console.error("missed:", JSON.stringify(body.gap)); // retention was faster than this reader
    for (const message of body.data) await handle(message);
    iterator = body.iterator;
  } else if (status === 400 && body.code === "invalid_iterator") {
    iterator = undefined; // the server goes on from the place that it keeps
  } else if (status === 429 || status >= 500) {
    await pause();
  } else {
    throw new Error(`${status} ${JSON.stringify(body)}`);
  }
}
