import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Host } from "../../cluster/index.ts";

/** Clock ticks a second in /proc (USER_HZ, fixed by Linux's ABI). */
const ticksPerSecond = 100;
const observedMs = 20_000;

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

function swarmdOf(host: Host): number {
  const [pid, ...others] = processesOf(host, "--listen-remote-api");
  if (pid === undefined || others.length > 0)
    throw new Error(`${host.name}: ${others.length + 1} swarmd processes, want 1`);
  return pid;
}

function residentMiB(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kib) / 1024;
}

/** Resident memory of the host's swarmd, MiB. */
export function swarmdMiB(host: Host): number {
  return residentMiB(swarmdOf(host));
}

/** Resident memory of each shim on the host, MiB. */
export function shimsMiB(host: Host): readonly number[] {
  return processesOf(host, "starling-shim").map(residentMiB);
}

/** Share of one CPU that the host's swarmd takes, percent, over 20 s. */
export async function cpuPercent(host: Host): Promise<number> {
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
