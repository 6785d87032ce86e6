import { openSync, readSync } from "node:fs";

/** Of the calling thread, since its start (a difference of two: between them). */
export interface ThreadTimes {
  readonly wallMs: number;
  /** On a CPU. */
  readonly ranMs: number;
  /** Ready to run, while others had the CPUs. */
  readonly waitedMs: number;
}

const schedstat = openSync("/proc/thread-self/schedstat", "r");
const buffer = Buffer.alloc(64);

/** By the kernel's account, which is up to a tick (4 ms) behind. For the thread that loaded this file. */
export function threadTimes(): ThreadTimes {
  const length = readSync(schedstat, buffer, 0, buffer.length, 0);
  const [ran, waited] = buffer.toString("latin1", 0, length).split(" ").map(Number) as [number, number];
  return { wallMs: performance.now(), ranMs: ran / 1e6, waitedMs: waited / 1e6 };
}
