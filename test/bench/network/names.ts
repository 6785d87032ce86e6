import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestHosts } from "../../../node-agent/src/network/test-hosts.ts";
import { type BenchRow, rowOf } from "../types.ts";
import { endpoint, service, task, withHosts } from "./stage.ts";

const services = 200;

/** Answers of a task's name server for each second of this process's CPU time, under `dnsperf`. */
export function measureNames(runs: number): Promise<readonly BenchRow[]> {
  const items = Array.from({ length: services }, (_, i) => [
    service(`service-${i}`, i + 2),
    endpoint(i + 2, { service: `service-${i}`, node: 2 }),
  ]).flat();
  return withHosts(items, async (hosts, [node]) => {
    hosts.add("c1");
    await node!.attach(task(1), { path: hosts.path("c1"), pid: 0 });
    const folder = mkdtempSync(join(tmpdir(), "starling-bench-"));
    try {
      const file = join(folder, "queries");
      writeFileSync(file, Array.from({ length: services }, (_, i) => `service-${i} A\n`).join(""));
      const rates: number[] = [];
      for (let run = 0; run < runs; run++) rates.push(await answersPerCpuSecond(hosts, file));
      const name = { bench: "network", better: "higher", unit: "answers/s" } as const;
      return [rowOf({ ...name, case: "names: answers a second of a core", target: 20_000 }, rates)];
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

async function answersPerCpuSecond(hosts: TestHosts, queries: string): Promise<number> {
  const before = process.cpuUsage();
  const load = ["dnsperf", "-s", "127.0.0.11", "-d", queries, "-l", "2", "-c", "4", "-q", "100"];
  const child = spawn("nsenter", [`--net=${hosts.path("c1")}`, ...load], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += String(chunk)));
  const status = await new Promise((resolve) => child.on("close", resolve));
  const { user, system } = process.cpuUsage(before);
  const answered = Number(/Queries completed:\s+(\d+)/.exec(output)?.[1] ?? Number.NaN);
  const right = Number(/NOERROR (\d+)/.exec(output)?.[1] ?? Number.NaN);
  if (status !== 0 || answered !== right) throw new Error(`dnsperf: exit status ${status}:\n${output}`);
  return answered / ((user + system) / 1e6);
}
