/** Pure: no clock, no I/O, no randomness. */
import type { Service, Task } from "@starling/api";
import type { Millis } from "@starling/base";

const FIRST_MS: Millis = 5 * 60_000;
const MOST_MS: Millis = 60 * 60_000;

interface HoldOff {
  /** Of the service: another spec may do better. */
  readonly specVersion: number | undefined;
  readonly lengthMs: Millis;
  readonly until: Millis;
}

/** Moves that brought nothing: a while, longer each time, until a task of that service is moved to that node again. */
export class HoldOffs {
  /** By service, by node. */
  readonly #byService = new Map<string, Map<string, HoldOff>>();

  /** The task was moved to the node and did not come to run there. */
  failed(task: Task, nodeId: string, now: Millis): void {
    const own = this.#byService.get(task.serviceId) ?? new Map<string, HoldOff>();
    const specVersion = task.specVersion?.index;
    const last = own.get(nodeId);
    const lengthMs = last?.specVersion === specVersion && last ? Math.min(2 * last.lengthMs, MOST_MS) : FIRST_MS;
    this.#byService.set(task.serviceId, own.set(nodeId, { specVersion, lengthMs, until: now + lengthMs }));
  }

  succeeded({ serviceId }: Task, nodeId: string): void {
    this.#byService.get(serviceId)?.delete(nodeId);
  }

  forget(serviceId: string): void {
    this.#byService.delete(serviceId);
  }

  /** When the service's tasks may be moved to the node again; -Infinity when nothing forbids it. */
  until({ id, specVersion }: Service, nodeId: string): Millis {
    const known = this.#byService.get(id)?.get(nodeId);
    return known !== undefined && known.specVersion === specVersion?.index ? known.until : Number.NEGATIVE_INFINITY;
  }
}
