// Child processes that cannot outlive the run: every one is registered, its
// last lines are kept for the report, and all are killed at the end, whichever
// way the end comes.
import { spawn } from "node:child_process";

const KEPT_LINES = 400;
const READY_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 5_000;
const ADDRESS = /https?:\/\/(?:\[[0-9a-f:]+\]|[\w.-]+):\d+/i;

const running = new Set();

/** A started program: its output line by line, its exit, and a stop that always ends. */
export class Process {
  constructor(name, command, args, options = {}) {
    if (ending) throw new Error("the run is ending");
    this.name = name;
    this.stdout = "";
    this.stderr = "";
    this.lines = [];
    this.waiters = new Set();
    this.child = spawn(command, args, {
      cwd: options.cwd,
      env: { ...process.env, NO_COLOR: "1", ...options.env },
      stdio: [options.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    });
    running.add(this);
    this.#collect("stdout");
    this.#collect("stderr");
    this.exited = new Promise((resolve) => {
      this.child.once("error", (error) => this.#end(resolve, { code: null, error }));
      this.child.once("close", (code, signal) => this.#end(resolve, { code, signal }));
    });
    if (options.input !== undefined) this.child.stdin.end(options.input);
  }

  #collect(stream) {
    let rest = "";
    this.child[stream].setEncoding("utf8");
    this.child[stream].on("data", (text) => {
      this[stream] += text;
      const lines = (rest + text).split("\n");
      rest = lines.pop();
      for (const line of lines) this.#line(stream, line);
    });
    this.child[stream].on("end", () => rest && this.#line(stream, rest));
  }

  #line(stream, line) {
    this.lines.push(`${stream === "stderr" ? "!" : " "} ${line}`);
    if (this.lines.length > KEPT_LINES) this.lines.shift();
    for (const waiter of this.waiters) waiter(stream, line);
  }

  #end(resolve, exit) {
    running.delete(this);
    this.exit = exit;
    resolve(exit);
  }

  /** The first stdout line that `match` accepts (its return value), or an error that shows the log. */
  async waitForLine(match, timeoutMs = READY_TIMEOUT_MS) {
    let waiter;
    let timer;
    const found = new Promise((resolve) => {
      waiter = (stream, line) => {
        const value = stream === "stdout" ? match(line) : undefined;
        if (value) resolve(value);
      };
      this.waiters.add(waiter);
      for (const line of this.stdout.split("\n")) waiter("stdout", line);
    });
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${this.name} did not print what was awaited within ${timeoutMs} ms`)), timeoutMs);
    });
    const gone = this.exited.then(({ code, signal, error }) => {
      throw new Error(`${this.name} ended before it was ready (${error?.message ?? signal ?? `exit ${code}`})`);
    });
    try {
      return await Promise.race([found, late, gone]);
    } finally {
      clearTimeout(timer);
      this.waiters.delete(waiter);
    }
  }

  /** The address a server printed on stdout when it was ready to serve. */
  ready(timeoutMs) {
    return this.waitForLine((line) => line.match(ADDRESS)?.[0], timeoutMs);
  }

  /** Waits for a program that ends by itself; `code` is null if it had to be killed. */
  async result(timeoutMs) {
    let timer;
    const late = new Promise((resolve) => {
      timer = setTimeout(() => resolve(undefined), timeoutMs);
    });
    const exit = await Promise.race([this.exited, late]);
    clearTimeout(timer);
    if (!exit) {
      await this.stop();
      throw new Error(`${this.name} did not end within ${timeoutMs} ms`);
    }
    if (exit.error) throw new Error(`${this.name} did not start: ${exit.error.message}`);
    return { code: exit.code, stdout: this.stdout, stderr: this.stderr };
  }

  /** SIGTERM, then SIGKILL; returns true if SIGTERM was enough and the exit was clean. */
  async stop() {
    if (this.exit) return false;
    this.child.kill("SIGTERM");
    let timer;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, STOP_TIMEOUT_MS, null);
    });
    const exit = await Promise.race([this.exited, late]);
    clearTimeout(timer);
    if (!exit) {
      this.child.kill("SIGKILL");
      await this.exited;
    }
    return exit?.code === 0;
  }

  tail(count) {
    return this.lines.slice(-count);
  }
}

let ending = false;

/** True once a signal has ended the run: nothing is started or reported any more. */
export const isEnding = () => ending;

/** The first signal lets the programs end by themselves (a browser clears up), the second does not wait. */
async function end() {
  if (ending) process.exit(130);
  ending = true;
  await Promise.all([...running].map((each) => each.stop()));
  process.exit(130);
}

process.on("exit", () => {
  for (const each of running) each.child.kill("SIGKILL");
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, end);
