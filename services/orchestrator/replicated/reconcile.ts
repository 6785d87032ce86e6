/** Pure: no clock, no I/O, no randomness. */
import { type Service, TaskState } from "@starling/api";
import type { Plan } from "../plan.ts";
import { shouldRestart } from "../restart/policy.ts";
import { beginning, endedByItself, isWanted, type Slot, type SlotKey } from "../slot.ts";

/** Slots 1..n of a replicated service: creates the lowest missing ones, or gives up those that balance the nodes best. */
export function reconcileReplicated(service: Service, slots: ReadonlyMap<SlotKey, Slot>, plan: Plan): void {
  const replicas = service.spec.replicated?.replicas ?? 0;
  const filled = [...slots.values()].filter((slot) => isFilled(slot, service));
  if (filled.length > replicas) {
    const keep = new Set(keepOrder(filled).slice(0, replicas));
    for (const slot of slots.values()) {
      if (keep.has(slot)) continue;
      for (const task of slot.tasks) plan.desire.push({ taskId: task.id, state: TaskState.REMOVE });
    }
    return;
  }
  const taken = new Set(filled.map((slot) => slot.key));
  let missing = replicas - filled.length;
  for (let slot = 1; missing > 0; slot++) {
    if (taken.has(slot)) continue;
    plan.create.push({ slot, desiredState: beginning(slots.get(slot), service) });
    missing--;
  }
}

/** A slot counts while a task in it is wanted, or when its last one has ended and its policy lets it rest. */
export function isFilled(slot: Slot, service: Service): boolean {
  if (slot.tasks.some(isWanted)) return true;
  const last = slot.tasks.at(-1);
  return last !== undefined && endedByItself(last) && !shouldRestart(last, slot, service);
}

/**
 * Slots from the most to the least worth keeping: running ones first, then the first copy on each node, the second on
 * each, and so on; so that what is given up comes from the fullest nodes.
 */
function keepOrder(slots: readonly Slot[]): Slot[] {
  const byNumber = [...slots].sort((a, b) => Number(a.key) - Number(b.key));
  const running = (slot: Slot) => slot.tasks.some((task) => isWanted(task) && task.status.state === TaskState.RUNNING);
  const copies = new Map<string, number>();
  const rank = new Map<Slot, number>();
  for (const slot of [...byNumber.filter(running), ...byNumber.filter((slot) => !running(slot))]) {
    const nodeId = slot.tasks.findLast(isWanted)?.nodeId ?? "";
    const copy = nodeId === "" ? 0 : (copies.get(nodeId) ?? 0);
    if (nodeId !== "") copies.set(nodeId, copy + 1);
    rank.set(slot, copy);
  }
  return byNumber.sort(
    (a, b) => Number(running(b)) - Number(running(a)) || rank.get(a)! - rank.get(b)! || Number(a.key) - Number(b.key),
  );
}
