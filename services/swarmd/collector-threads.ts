import { readdirSync, readFileSync } from "node:fs";
import { setPriority } from "node:os";

/** Of V8's threads in Node 24, as the kernel lists them. */
const threadName = "V8Worker";
const niceness = -10;

/**
 * Lets V8's own threads go before all that is nice 0. They collect what a manager leaves behind beside its program; where they get no CPU,
 * the program's thread does their work and each collection holds it for 100 ms and more. The work is the same, and that thread
 * keeps its priority, as does what it starts. Returns how many threads there are; throws where the kernel forbids it (CAP_SYS_NICE).
 */
export function putCollectorFirst(): number {
  const threads = readdirSync("/proc/self/task").filter((id) => nameOf(id) === threadName);
  for (const id of threads) setPriority(Number(id), niceness);
  return threads.length;
}

/** Empty of a thread that has ended meanwhile. */
function nameOf(id: string): string {
  try {
    return readFileSync(`/proc/self/task/${id}/comm`, "utf8").trim();
  } catch {
    return "";
  }
}
