import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { lean } from "../../../deploy/distribution/lean.ts";
import { type BenchRow, rowOf } from "../types.ts";

const fixture = join(import.meta.dirname, "../../images/pull.fixture.ts");
const mebibyte = 2 ** 20;

/** How much the resident memory of a process that pulls ten images at once, run as swarmd is, grows at most. */
export async function memory(folder: string, address: string, images: number): Promise<BenchRow> {
  const references = Array.from({ length: images }, (_, i) => `${address}/${i}:1`);
  const store = join(folder, "memory");
  // As a worker's, whose young generation does not grow.
  const flags = [...lean.flags, "--max-semi-space-size=1"];
  const child = spawn(process.execPath, [...flags, fixture, store, ...references], {
    env: { ...process.env, ...lean.env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines: string[] = [];
  const ended = new Promise((resolve) => child.once("close", resolve));
  await new Promise<void>((resolve) => child.stdout.setEncoding("utf8").once("data", () => resolve()));
  const atBegin = kibibytes(child.pid!, "VmRSS");
  let peak = atBegin;
  child.stdout.on("data", (text: string) => lines.push(text));
  while (child.exitCode === null && child.signalCode === null) {
    peak = Math.max(peak, kibibytes(child.pid!, "VmHWM"));
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await ended;
  if (!lines.join("").includes("KiB")) throw new Error("bench images: the process that pulls failed");
  const base = { bench: "images", unit: "MiB", better: "lower" } as const;
  return rowOf({ ...base, case: "memory of ten pulls at once, growth", target: 30 }, [
    ((peak - atBegin) * 1024) / mebibyte,
  ]);
}

function kibibytes(pid: number, name: "VmRSS" | "VmHWM"): number {
  try {
    return Number(new RegExp(`${name}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
