/** Pure: no clock, no I/O, no randomness. */
import { type Service, TaskState } from "@starling/api";
import { filterInSteps, inSteps, type Steps, setInSteps } from "@starling/base";
import type { Plan } from "../plan.ts";
import { shouldRestart } from "../restart/policy.ts";
import { beginning, endedByItself, isWanted, numbers, type Slot, type SlotKey } from "../slot.ts";

/** Slots 1..n of a replicated service: creates the lowest missing ones, or gives up those that balance the nodes best. */
export function* reconcileReplicated(service: Service, slots: ReadonlyMap<SlotKey, Slot>, plan: Plan): Steps<void> {
  const replicas = service.spec.replicated?.replicas ?? 0;
  const filled = yield* filterInSteps(slots.values(), (slot) => isFilled(slot, service));
  if (filled.length > replicas) {
    const kept = yield* mostWorthKeeping(filled, replicas);
    yield* inSteps(slots.values(), (slot) => {
      if (kept.has(slot)) return;
      for (const task of slot.tasks) plan.desire.push({ taskId: task.id, state: TaskState.REMOVE });
    });
    return;
  }
  const taken = yield* setInSteps(filled, (slot) => slot.key);
  let missing = replicas - filled.length;
  yield* inSteps(
    numbers(1, () => missing > 0),
    (slot) => {
      if (taken.has(slot)) return;
      plan.create.push({ slot, desiredState: beginning(slots.get(slot), service) });
      missing--;
    },
  );
}

/** A slot counts while a task in it is wanted, or when its last one has ended and its policy lets it rest. */
export function isFilled(slot: Slot, service: Service): boolean {
  if (slot.tasks.some(isWanted)) return true;
  const last = slot.tasks.at(-1);
  return last !== undefined && endedByItself(last) && !shouldRestart(last, slot, service);
}

/**
 * The slots most worth keeping, `count` of them: running ones first, then the first copy on each node, the second on each, and
 * so on, so that what is given up comes from the fullest nodes; among equals the lowest numbers.
 */
function* mostWorthKeeping(slots: readonly Slot[], count: number): Steps<ReadonlySet<Slot>> {
  const byNumber = new Map<number, Slot>();
  yield* inSteps(slots, (slot) => byNumber.set(Number(slot.key), slot));
  // Sorted as numbers in one piece of memory: 100,000 of them take a few milliseconds.
  const numbers = Float64Array.from(byNumber.keys()).sort();
  const copies = new Map<string, number>();
  const kept = new Set<Slot>();
  for (const runs of [true, false]) {
    /** By copy, in order of numbers. */
    const ranks: (Slot[] | undefined)[] = [];
    yield* inSteps(numbers, (number) => {
      const slot = byNumber.get(number)!;
      if (isRunning(slot) !== runs) return;
      const nodeId = slot.tasks.findLast(isWanted)?.nodeId ?? "";
      const copy = nodeId === "" ? 0 : (copies.get(nodeId) ?? 0);
      if (nodeId !== "") copies.set(nodeId, copy + 1);
      const rank = ranks[copy];
      if (rank) rank.push(slot);
      else ranks[copy] = [slot];
    });
    for (const rank of ranks) {
      yield* inSteps(rank ?? [], (slot) => {
        if (kept.size < count) kept.add(slot);
      });
    }
  }
  return kept;
}

function isRunning(slot: Slot): boolean {
  return slot.tasks.some((task) => isWanted(task) && task.status.state === TaskState.RUNNING);
}
