import { stderr, stdin } from "node:process";
import { createInterface } from "node:readline";
import { Writable } from "node:stream";

/**
 * A line from standard input; on a terminal after `prompt`, without showing what is typed. Empty at the input's end and when
 * the signal aborts.
 */
export async function readSecret(prompt: string, signal: AbortSignal): Promise<string> {
  return await read(prompt, new Writable({ write: (_chunk, _encoding, done) => done() }), signal);
}

/** As readSecret, showing what is typed. */
export async function readLine(prompt: string, signal: AbortSignal): Promise<string> {
  return await read(prompt, stderr, signal);
}

async function read(prompt: string, echo: NodeJS.WritableStream, signal: AbortSignal): Promise<string> {
  if (stdin.isTTY) stderr.write(prompt);
  const lines = createInterface({ input: stdin, output: echo, terminal: stdin.isTTY ?? false, signal });
  // A terminal in raw mode hands Ctrl-C to its reader.
  lines.once("SIGINT", () => process.kill(process.pid, "SIGINT"));
  try {
    return await new Promise<string>((resolve) => {
      lines.once("line", resolve);
      lines.once("close", () => resolve(""));
    });
  } finally {
    lines.close();
    if (stdin.isTTY && echo !== stderr) stderr.write("\n");
  }
}
