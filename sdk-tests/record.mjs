// Stands between the SDKs and the server, and counts which routes they drive.
//
// Asked to stop, it prints every route of the server with its count, and ends with 1 if one was not driven and
// `not-driven.txt` gives no reason, or gives one for a route that was driven.

import { readFileSync } from "node:fs";
import http from "node:http";

const [suite, server] = process.argv.slice(2);
const routes = routesOf(await (await fetch(`${server}/api/v1/openapi.json`)).json());
const excused = readExcuses();
const agent = new http.Agent({ keepAlive: true });

http
  .createServer((request, response) => {
    count(request);
    const { method, url, headers } = request;
    const onward = http.request(server + url, { method, headers, agent }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", (error) => {
      console.error(`${method} ${url}: ${error.message}`);
      response.destroy();
    });
    request.pipe(onward);
  })
  .listen(0, "127.0.0.1", function () {
    console.log(`ready http://127.0.0.1:${this.address().port}`);
  });

process.on("SIGTERM", () => process.exit(report() ? 0 : 1));

// Requests that a suite makes without its SDK do not count.
function count(request) {
  if (!request.headers["user-agent"]?.startsWith("svix-libs/")) return;
  const path = request.url.split("?")[0];
  const route = routes.find((route) => route.method === request.method && route.pattern.test(path));
  if (route) route.count += 1;
  else console.error(`the SDK called what the server does not have: ${request.method} ${path}`);
}

// Routes without parameters come first: /msg/{msg_id} must not take what another route names in full.
function routesOf(document) {
  return Object.entries(document.paths)
    .flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => ({
        name: `${method.toUpperCase()} ${path}`,
        method: method.toUpperCase(),
        pattern: new RegExp(`^${path.replace(/\{\w+\}/g, "[^/]+")}$`),
        parameters: path.split("{").length,
        count: 0,
      })),
    )
    .sort((a, b) => a.parameters - b.parameters || a.name.localeCompare(b.name));
}

// Lines of `SUITES | ROUTE | WHY`.
function readExcuses() {
  const excuses = new Map();
  for (const line of readFileSync(new URL("not-driven.txt", import.meta.url), "utf8").split("\n")) {
    if (!line.trim() || line.startsWith("#")) continue;
    const [suites, route, why] = line.split("|").map((part) => part.trim());
    if (!routes.some(({ name }) => name === route)) throw new Error(`not-driven.txt: there is no ${route}`);
    if (suites.split(" ").includes(suite)) excuses.set(route, why);
  }
  return excuses;
}

function report() {
  const wrong = [];
  console.log(`routes that ${suite} drove with its SDK:`);
  for (const { name, count } of routes) {
    const why = excused.get(name);
    console.log(`  ${String(count).padStart(5)}  ${name}${why ? `  (${why})` : ""}`);
    if (count === 0 && !why) wrong.push(`not driven, and not-driven.txt does not say why: ${name}`);
    if (count > 0 && why) wrong.push(`driven, though not-driven.txt says it cannot be: ${name}`);
  }
  const driven = routes.filter(({ count }) => count > 0).length;
  console.log(`${driven} of ${routes.length} routes driven, ${excused.size} with a reason not to be`);
  for (const line of wrong) console.log(line);
  return wrong.length === 0;
}
