// What every server of the suite shares. Arguments come as one JSON object in
// INTEROP; the ready line and one line per handled request go to stdout.
export const options = JSON.parse(process.env.INTEROP);

export const say = (line) => process.stdout.write(`${line}\n`);

/** The paid answer. Each call is counted by the line it prints. */
export function handler() {
  say("handled");
  return { secret: options.secret };
}

export function listening(address) {
  say(`ready http://127.0.0.1:${address.port}`);
}

process.on("SIGTERM", () => process.exit(0));
