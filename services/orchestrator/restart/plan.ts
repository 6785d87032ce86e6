/** Pure: no clock, no I/O, no randomness. */
import { isTerminal, type Service, type Task, TaskState } from "@starling/api";
import { inSteps, type Steps, setInSteps } from "@starling/base";
import { type Observed, type Plan, wakeAt } from "../plan.ts";
import {
  endedByItself,
  goalOf,
  hasEnded,
  isHeld,
  isInvalidNode,
  isLostNode,
  isWanted,
  type Slot,
  stampMs,
} from "../slot.ts";
import { restartDelayMs, shouldRestart } from "./policy.ts";

/** Longest wait for an old task's end before its successor starts all the same. */
const stopWaitMs = 60_000;

/**
 * Replaces what has ended or lost its node: old one SHUTDOWN, a new one in the same slot with desired READY. A task is
 * never reused. One that broke while it was still held waits out its own delay first: a task that cannot even be
 * prepared is tried once a delay, not as fast as it fails.
 */
export function* planRestarts(service: Service, slots: Iterable<Slot>, observed: Observed, plan: Plan): Steps<void> {
  yield* inSteps(slots, (slot) => planRestart(service, slot, observed, plan));
}

function planRestart(service: Service, slot: Slot, observed: Observed, plan: Plan): void {
  const wanted = slot.tasks.filter(isWanted);
  const broken = wanted.filter((task) => needsReplacement(task, observed));
  const last = broken.at(-1);
  if (last === undefined) return;
  const heldUntilMs = hasEnded(last) && isHeld(last) ? mayStartAtMs(last, slot, service, observed) : undefined;
  if (heldUntilMs !== undefined && heldUntilMs > observed.nowMs) {
    wakeAt(plan, heldUntilMs);
    return;
  }
  for (const task of broken) plan.desire.push({ taskId: task.id, state: TaskState.SHUTDOWN });
  if (broken.length < wanted.length) return; // Another wanted task fills the slot already.
  const moves = !isTerminal(last.status.state);
  const global = typeof slot.key === "string";
  if (global && isInvalidNode(observed.node(slot.key as string))) return;
  if (!moves && !shouldRestart(last, slot, service)) return;
  plan.create.push({ slot: slot.key, desiredState: TaskState.READY });
}

/** Lets tasks held at READY go on when their predecessor has stopped and the delay has passed. */
export function* planStarts(service: Service, slots: Iterable<Slot>, observed: Observed, plan: Plan): Steps<void> {
  const leaving = yield* setInSteps(plan.desire, (step) => step.taskId);
  yield* inSteps(slots, (slot) => {
    for (const task of slot.tasks) {
      if (!isHeld(task) || hasEnded(task) || leaving.has(task.id)) continue;
      const startMs = mayStartAtMs(task, slot, service, observed);
      if (startMs === undefined) wakeAt(plan, stampMs(task.meta.createdAt) + stopWaitMs);
      else if (startMs > observed.nowMs) wakeAt(plan, startMs);
      else plan.desire.push({ taskId: task.id, state: goalOf(service) });
    }
  });
}

/** Undefined while an earlier task of the slot still stops. */
function mayStartAtMs(task: Task, slot: Slot, service: Service, observed: Observed): number | undefined {
  const created = stampMs(task.meta.createdAt);
  const earlier = slot.tasks.slice(0, slot.tasks.indexOf(task));
  const stopping = earlier.some((old) => !hasEnded(old) && old.nodeId !== "" && !isLostNode(observed.node(old.nodeId)));
  const waits = stopping || observed.leaving?.has(slot.key) === true;
  if (waits && observed.nowMs < created + stopWaitMs) return undefined;
  const last = earlier.at(-1);
  return last && waitsForDelay(last, task, observed) ? created + restartDelayMs(service) : created;
}

/** A successor waits for the delay only when its predecessor broke: not after an update, a drain or a lost node. */
function waitsForDelay(old: Task, successor: Task, observed: Observed): boolean {
  if (old.specVersion?.index !== successor.specVersion?.index) return false;
  if (old.nodeId !== "" && isInvalidNode(observed.node(old.nodeId))) return false;
  return endedByItself(old);
}

function needsReplacement(task: Task, observed: Observed): boolean {
  if (isTerminal(task.status.state)) return true;
  return task.nodeId !== "" && isInvalidNode(observed.node(task.nodeId));
}
