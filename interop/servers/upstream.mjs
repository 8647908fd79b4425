// A server that knows nothing of payments, for a gate to stand in front of.
import { createServer } from "node:http";
import { handler, listening, options } from "./common.mjs";

const server = createServer((request, response) => {
  if (request.url.startsWith("/free/")) return response.end("free");
  const body = JSON.stringify(handler());
  response.writeHead(options.status ?? 200, { "content-type": "application/json" });
  response.end(body);
});
server.listen(0, "127.0.0.1", () => listening(server.address()));
