import type { Host } from "./host.ts";

/** What wrk counted. */
export interface LoadResult {
  readonly requests: number;
  readonly perSecond: number;
  /** Connections that failed: refused, reset, timed out. */
  readonly socketErrors: number;
  /** Answers other than 2xx and 3xx. */
  readonly refused: number;
  /** What failed, as wrk says it; empty when nothing did. */
  readonly errors: string;
}

export interface Load {
  /** Ends the load now and gives what was counted. */
  finish(): Promise<LoadResult>;
}

/**
 * Starts `wrk` in a host, or (`inTask`: a pid) in the network of a task there: with a new connection for each request, unless these
 * are to be kept.
 */
export async function startLoad(
  host: Host,
  url: string,
  options: { readonly connections?: number; readonly kept?: boolean; readonly inTask?: number } = {},
): Promise<Load> {
  const { connections = 64, kept = false, inTask } = options;
  const enter = inTask === undefined ? [] : ["nsenter", `--net=/proc/${inTask}/ns/net`];
  const closing = kept ? [] : ["-H", "Connection: close"];
  const wrk = ["wrk", "-t2", `-c${connections}`, "-d600s", "--timeout", "5s", ...closing, url];
  const process = await host.spawn([...enter, ...wrk]);
  let output = "";
  for (const stream of [process.child.stdout, process.child.stderr]) {
    stream?.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  // What it says last comes after its end.
  const closed = new Promise((resolve) => process.child.once("close", resolve));
  return {
    async finish() {
      process.kill("SIGINT");
      await closed;
      return readResult(output);
    },
  };
}

/** Reads what wrk prints. Throws when there is no count in it. */
export function readResult(output: string): LoadResult {
  const number = (pattern: RegExp) => Number(pattern.exec(output)?.[1] ?? Number.NaN);
  const requests = number(/(\d+) requests in/);
  const perSecond = number(/Requests\/sec:\s+([\d.]+)/);
  if (Number.isNaN(requests + perSecond)) throw new Error(`wrk counted nothing:\n${output}`);
  const socketErrors = /Socket errors:(.*)$/m.exec(output)?.[1] ?? "";
  return {
    requests,
    perSecond,
    socketErrors: [...socketErrors.matchAll(/\d+/g)].reduce((sum, [count]) => sum + Number(count), 0),
    refused: Number(/Non-2xx or 3xx responses: (\d+)/.exec(output)?.[1] ?? 0),
    errors: [...output.matchAll(/^\s*(Socket errors:.*|Non-2xx.*)$/gm)].map(([, line]) => line).join("; "),
  };
}
