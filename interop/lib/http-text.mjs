/** Parses what `-i` prints: a status line, header lines, an empty line, the body. */
export function parseIncluded(text) {
  const end = text.search(/\r?\n\r?\n/);
  if (end < 0) throw new Error(`no header block in: ${text.slice(0, 300)}`);
  const [statusLine, ...headerLines] = text.slice(0, end).split(/\r?\n/);
  const status = Number(statusLine.match(/^HTTP\/\S+ (\d{3})/)?.[1]);
  const headers = new Map(headerLines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]));
  return { status, headers, body: text.slice(end).replace(/^\r?\n\r?\n/, "") };
}

export const decodeHeader = (value) => JSON.parse(Buffer.from(value, "base64").toString("utf8"));

export const encodeHeader = (value) => Buffer.from(JSON.stringify(value)).toString("base64");
