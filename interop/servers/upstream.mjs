// A server that knows nothing of payments, for a gate to stand in front of.
import { createServer } from "node:http";
import { handler, listening, options } from "./common.mjs";

/** The answer again and again, as events. */
function stream(response, body) {
  response.writeHead(200, { "content-type": "text/event-stream" });
  for (let sent = 0; sent < options.events; sent += 1) response.write(`data: ${body}\n\n`);
  response.end();
}

const server = createServer((request, response) => {
  if (request.url === "/favicon.ico") return response.end();
  if (request.url.startsWith("/free/")) return response.end("free");
  const body = options.page ? `${options.page}<p>${handler().secret}</p>` : JSON.stringify(handler());
  if (options.due) response.setHeader("Settlement-Overrides", JSON.stringify({ amount: options.due }));
  if (options.events) return stream(response, body);
  if (options.location) response.setHeader("Location", options.location);
  response.writeHead(options.status ?? 200, { "content-type": options.page ? "text/html" : "application/json" });
  response.end(body);
});
server.listen(0, "127.0.0.1", () => listening(server.address()));
