import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { seededRandom } from "@starling/base";
import { expect, it } from "vitest";

const kills = 14;

/**
 * Starts the writer, lets it acknowledge `writes` and kills it. Returns what it found at its start, and what it
 * acknowledged until its end.
 */
async function runAndKill(
  stateDir: string,
  prefix: string,
  writes: number,
): Promise<{ had: string[]; acked: string[] }> {
  const child = spawn(process.execPath, [join(import.meta.dirname, "crash-child.ts"), stateDir, prefix], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  let had: string[] | undefined;
  const acked: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const [what, ...ids] = line.split(" ");
    if (what === "has") had = ids.filter((id) => id !== "");
    else if (what === "ok") acked.push(ids[0]!);
    else throw new Error(`the writer said: ${line}`);
    if (acked.length === writes) child.kill("SIGKILL");
  }
  await exited;
  if (had === undefined) throw new Error("the writer ended before it led");
  return { had, acked };
}

it("every acknowledged write is read back after kill -9 at random moments", { timeout: 120_000 }, async () => {
  const seed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 1e9));
  console.log(`crash test: seed ${seed}; again with SEED=${seed} vitest run services/raft-node/crash.test.ts`);
  const random = seededRandom(seed);
  const dir = await mkdtemp(join(tmpdir(), "starling-crash-"));
  try {
    const acked: string[] = [];
    for (let kill = 0; kill <= kills; kill++) {
      const run = await runAndKill(dir, `k${kill}`, 1 + Math.floor(random() * 150));
      const found = new Set(run.had);
      expect(found.size, "no write is applied twice").toBe(run.had.length);
      expect(acked.filter((id) => !found.has(id))).toEqual([]);
      acked.push(...run.acked);
    }
    expect(acked.length).toBeGreaterThan(kills * 10);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
