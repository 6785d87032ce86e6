import { join } from "node:path";
import { createInterface } from "node:readline";
import { SwarmError } from "@starling/base";
import { type Host, repositoryRoot } from "../../cluster/index.ts";

const node = join(repositoryRoot, "node_modules/.bin/node");
const driver = join(import.meta.dirname, "driver.ts");

/** Runs a verb of driver.ts on a manager's host to its end. */
export async function drive<T>(on: Host, verb: string, ...args: readonly string[]): Promise<T> {
  const output = await on.mustExec([node, driver, verb, ...args], { timeoutMs: 120_000 });
  return JSON.parse(output.trim().split("\n").at(-1) ?? "") as T;
}

/** A verb that waits for something; it is waiting when `arm` returns. */
export interface Armed<T> {
  /** Ends a verb that goes on until told. */
  stop(): void;
  readonly result: Promise<T>;
}

export async function arm<T>(on: Host, verb: string, ...args: readonly string[]): Promise<Armed<T>> {
  const { child, exited, kill } = await on.spawn([node, driver, verb, ...args]);
  const errors: Buffer[] = [];
  child.stderr?.on("data", (data: Buffer) => errors.push(data));
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (!done) return value as string;
    throw new SwarmError("Internal", `${verb} on ${on.name}: exit status ${await exited}: ${Buffer.concat(errors)}`);
  };
  if ((await next()) !== "armed") throw new SwarmError("Internal", `${verb} on ${on.name} is not armed`);
  const tooLate = setTimeout(() => kill("SIGKILL"), 120_000);
  const result = next()
    .then((line) => JSON.parse(line) as T)
    .finally(() => clearTimeout(tooLate));
  // Awaited by whoever armed it, maybe later than it fails.
  result.catch(() => undefined);
  return { result, stop: () => void child.stdin?.end() };
}
