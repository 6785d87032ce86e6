import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { runInGuest } from "./guest.ts";
import { scenarios } from "./scenarios.ts";

/**
 * By limit: whether its program (scenarios.ts) showed it to bite, on a host with both versions of control groups (the one that
 * runs the tests) and in a guest with either alone; else what was said instead, which is the evidence why not.
 */
type Verdict = "bites" | RegExp;
const noSwap = /^ample: "out of memory", not "filled"$/;
const noCpuset = /no cgroup hierarchy with the cpuset controller/;
const noWeights = /bfq: this kernel has no such I\/O scheduler/;

const table: Readonly<Record<string, { readonly hybrid: Verdict; readonly v2: Verdict; readonly v1: Verdict }>> = {
  memory: { hybrid: "bites", v2: "bites", v1: "bites" },
  // The host has no swap; the guest swaps to a disk of its own.
  swap: { hybrid: noSwap, v2: "bites", v1: "bites" },
  swappiness: { hybrid: "bites", v2: /control groups v2 have no such setting/, v1: "bites" },
  "memory reservation": { hybrid: "bites", v2: "bites", v1: "bites" },
  "CPU quota": { hybrid: "bites", v2: "bites", v1: "bites" },
  "CPU weight": { hybrid: "bites", v2: "bites", v1: "bites" },
  // User-Mode Linux has one CPU, and its kernel no cpusets.
  cpuset: { hybrid: "bites", v2: noCpuset, v1: noCpuset },
  "memory nodes": { hybrid: "bites", v2: noCpuset, v1: noCpuset },
  pids: { hybrid: "bites", v2: "bites", v1: "bites" },
  "block I/O: bytes written per second": { hybrid: "bites", v2: "bites", v1: "bites" },
  "block I/O: bytes read per second": { hybrid: "bites", v2: "bites", v1: "bites" },
  "block I/O: writes per second": { hybrid: "bites", v2: "bites", v1: "bites" },
  "block I/O: reads per second": { hybrid: "bites", v2: "bites", v1: "bites" },
  // It takes the BFQ scheduler with its groups, which the guest's kernel has not.
  "block I/O weight": { hybrid: "bites", v2: noWeights, v1: noWeights },
  devices: { hybrid: "bites", v2: "bites", v1: "bites" },
  freezing: { hybrid: "bites", v2: "bites", v1: "bites" },
  exec: { hybrid: "bites", v2: "bites", v1: "bites" },
};

interface Result {
  readonly limit: string;
  readonly failure?: string;
}

/** Of the host's own kernel, on a disk that is a file. */
async function runHere(): Promise<readonly string[]> {
  const folder = mkdtempSync(join(tmpdir(), "starling-limits-"));
  writeFileSync(join(folder, "disk"), "");
  truncateSync(join(folder, "disk"), 64 * 2 ** 20);
  const disk = execFileSync("losetup", ["--find", "--show", join(folder, "disk")], { encoding: "utf8" }).trim();
  try {
    const program = join(import.meta.dirname, "run-scenarios.ts");
    return await new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [program, folder, "hybrid", disk], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      let text = "";
      child.stdout.on("data", (data: Buffer) => {
        text += data.toString("utf8");
      });
      child.on("error", reject);
      child.on("close", () => resolve(text.trim().split("\n")));
    });
  } finally {
    execFileSync("losetup", ["--detach", disk]);
    rmSync(folder, { recursive: true });
  }
}

const isHybrid =
  / - cgroup2 /.test(readFileSync("/proc/self/mountinfo", "utf8")) &&
  / - cgroup /.test(readFileSync("/proc/self/mountinfo", "utf8"));

describe.each([
  { name: "on a host with both versions of control groups", column: "hybrid", here: isHybrid, results: runHere },
  {
    name: "in a guest with the second version alone",
    column: "v2",
    here: true,
    results: () => runInGuest("v2", 110_000),
  },
  {
    name: "in a guest with the first version alone",
    column: "v1",
    here: true,
    results: () => runInGuest("v1", 110_000),
  },
] as const)("limits $name", ({ column, here, results }) => {
  const found = new Map<string, string>();

  beforeAll(async () => {
    if (!here) return;
    for (const line of await results()) {
      const { limit, failure = "bites" } = JSON.parse(line) as Result;
      found.set(limit, failure);
    }
  });

  it.skipIf(!here).each(scenarios.map(({ limit, program }) => ({ limit, program })))(
    "$limit: $program",
    ({ limit }) => {
      const verdict = table[limit]![column];
      if (verdict === "bites") expect(found.get(limit)).toBe("bites");
      else expect(found.get(limit)).toMatch(verdict);
    },
  );
});
