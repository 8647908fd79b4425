/** Parses what `-i` prints: a status line, header lines, an empty line, the body. */
export function parseIncluded(text) {
  const end = text.search(/\r?\n\r?\n/);
  if (end < 0) throw new Error(`no header block in: ${text.slice(0, 300)}`);
  const [statusLine, ...headerLines] = text.slice(0, end).split(/\r?\n/);
  const status = Number(statusLine.match(/^HTTP\/\S+ (\d{3})/)?.[1]);
  const headers = new Map(headerLines.map(nameAndValue));
  return { status, headers, body: text.slice(end).replace(/^\r?\n\r?\n/, "") };
}

function nameAndValue(line) {
  const colon = line.indexOf(":");
  return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
}

export const decodeHeader = (value) => JSON.parse(Buffer.from(value, "base64").toString("utf8"));

/** What `tollway pay -i` printed, in the shape of the other clients' outcomes. */
export function outcomeOf({ stdout }) {
  const { status, headers, body } = parseIncluded(stdout);
  const receiptHeader = ["payment-response", "x-payment-response"].find((name) => headers.has(name)) ?? null;
  return { status, body, receiptHeader, receipt: receiptHeader && decodeHeader(headers.get(receiptHeader)) };
}
