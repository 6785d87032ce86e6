#!/usr/bin/env node
import { enableCompileCache } from "node:module";
import { join } from "node:path";

const interrupted = new AbortController();
process.once("SIGINT", () => interrupted.abort());
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // The reader has gone (`| head`): nothing is left to do.
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

async function main(): Promise<number> {
  // Before anything else is loaded: half of the run time would be compilation.
  enableCompileCache(join(import.meta.dirname, "../../.cache/compiled"));
  const { run } = await import("./program.ts");
  return await run(process.argv.slice(2), {
    env: process.env,
    signal: interrupted.signal,
    // A terminal that was never told its size says 0.
    columns: process.stdout.isTTY ? process.stdout.columns || 80 : undefined,
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    outBytes: (bytes, to = "stdout") =>
      new Promise((resolve, reject) => process[to].write(bytes, (error) => (error ? reject(error) : resolve()))),
    terminal: async () =>
      process.stdin.isTTY && process.stdout.isTTY ? (await import("./terminal.ts")).ownTerminal : undefined,
    onSignal: async (listener) => (await import("./terminal.ts")).listenToSignals(listener),
    inputStream: () => (process.stdin.isTTY ? undefined : process.stdin),
    async readInput() {
      const chunks: Uint8Array[] = [];
      for await (const chunk of process.stdin) chunks.push(chunk as Uint8Array);
      return Buffer.concat(chunks);
    },
    readSecret: async (prompt) => (await import("./read-line.ts")).readSecret(prompt, interrupted.signal),
    readLine: async (prompt) => (await import("./read-line.ts")).readLine(prompt, interrupted.signal),
  });
}

// Pauses between attempts do not keep a process alive.
const living = setInterval(() => undefined, 2 ** 31 - 1);
main()
  .then((code) => {
    process.exitCode = code;
  })
  .finally(() => clearInterval(living));
