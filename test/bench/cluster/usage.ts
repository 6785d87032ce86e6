import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Host } from "../../cluster/index.ts";
import type { Figures } from "./figures.ts";
import { roleName, type Stage } from "./stage.ts";

/** Clock ticks a second in /proc (USER_HZ, fixed by Linux's ABI). */
const ticksPerSecond = 100;
/** How long each sample of CPU use takes, milliseconds. */
const observedMs = 10_000;
/** A node compiles and optimizes for so long after its start; a fleet's nodes run for months. */
const settleMs = 120_000;
/** Samples of each host: with three managers and two workers, ten values of each role. */
const samples = 5;

/** Memory and CPU of a swarm that has nothing to do. */
export async function measureIdle(stage: Stage, figures: Figures): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, settleMs));
  for (let i = 0; i < Math.min(samples, stage.runs); i++) {
    await Promise.all(
      stage.members().map(async (host) => {
        figures.add(`idle CPU, ${roleName(host)}`, await cpuPercent(host));
        figures.add(`idle memory, ${roleName(host)}`, residentMiB(swarmdOf(host)));
      }),
    );
  }
}

/** Memory with 30 tasks on the five nodes, soon after they have started. */
export async function measureBusy(stage: Stage, figures: Figures): Promise<void> {
  for (let i = 0; i < Math.min(samples, stage.runs); i++) {
    await stage.create("thirty", 30);
    for (const host of stage.members()) {
      figures.add(`memory with 30 tasks, ${roleName(host)}`, residentMiB(swarmdOf(host)));
      for (const pid of processesOf(host, "starling-shim")) figures.add("memory of a shim", residentMiB(pid));
    }
    await stage.remove("thirty");
  }
}

/** The host's swarmd, by its pid on the machine. */
export function swarmdOf(host: Host): number {
  const [pid, ...others] = processesOf(host, "--listen-remote-api");
  if (pid === undefined || others.length > 0)
    throw new Error(`${host.name}: ${others.length + 1} swarmd processes, want 1`);
  return pid;
}

/** Processes of a host by the name of their program, as pids on the machine. Containers' processes are not among them. */
function processesOf(host: Host, program: string): readonly number[] {
  const namespace = readlinkSync(`/proc/${host.init.pid}/ns/pid`);
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/ns/pid`) === namespace && commandOf(pid).includes(program);
      } catch {
        // The process has ended.
        return false;
      }
    });
}

function commandOf(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
}

function residentMiB(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kib) / 1024;
}

/** Share of one CPU that the host's swarmd takes, percent. */
async function cpuPercent(host: Host): Promise<number> {
  const pid = swarmdOf(host);
  const before = cpuTicks(pid);
  const began = performance.now();
  await new Promise((resolve) => setTimeout(resolve, observedMs));
  const seconds = (performance.now() - began) / 1000;
  return ((cpuTicks(pid) - before) / ticksPerSecond / seconds) * 100;
}

/** utime and stime, fields 14 and 15 of /proc/PID/stat. */
function cpuTicks(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}
