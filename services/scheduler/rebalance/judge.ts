/** Pure: no clock, no I/O, no randomness. */
import {
  durationMs,
  hasStopped,
  isStopRequested,
  labelOf,
  moveLabelOf,
  type Node,
  NodeSpec_Availability,
  NodeStatus_State,
  type Service,
  type Task,
  TaskState,
  timestampMs,
  UpdateStatus_UpdateState,
} from "@starling/api";
import { inSteps, type Millis, type Steps } from "@starling/base";
import type { NodeInfo } from "../node-info.ts";
import type { NodeSet } from "../node-set.ts";
import { Pipeline } from "../pipeline.ts";
import { type Load, planMove } from "./plan.ts";

/**
 * What is to be done about one service:
 * - move: this task is to run on that node;
 * - later: look again after this time, when a node or a task has settled;
 * - wait: until something changes; of its own, or of any node when it is `uneven` and no node has room.
 */
export type Verdict =
  | { readonly t: "move"; readonly task: Task; readonly to: NodeInfo }
  | { readonly t: "later"; readonly inMs: Millis }
  | { readonly t: "wait"; readonly uneven: boolean };

export interface Sight {
  readonly nodes: NodeSet;
  /** Of the service, in any order. */
  readonly tasks: () => Iterable<Task>;
  /** The task's slot has volumes on a node, and stays there. */
  readonly isBound: (task: Task) => boolean;
  /** How long until the node may take tasks of the service; at most 0 when it may now. */
  readonly settlesInMs: (nodeId: string) => Millis;
  /** How long a task must have run. */
  readonly settleMs: Millis;
  readonly now: Millis;
}

const { COMPLETED, ROLLBACK_COMPLETED, UNKNOWN } = UpdateStatus_UpdateState;
const restful: readonly UpdateStatus_UpdateState[] = [COMPLETED, ROLLBACK_COMPLETED, UNKNOWN];

interface NodeLoad extends Load {
  readonly info: NodeInfo;
  /** Until it takes tasks; at most 0 when it does. Infinity: one more does not fit there. */
  readonly takesInMs: Millis;
}

/** Whether a task of the service is to be moved. What costs little comes first: most services are even. */
export function* judge(service: Service, sight: Sight): Steps<Verdict> {
  if (!restful.includes(service.updateStatus?.state ?? UNKNOWN)) return wait(false);
  const counts = yield* countTasks(service, sight.nodes);
  if (isEven(service, counts)) return wait(false);
  const [some] = sight.tasks();
  if (some === undefined) return wait(false);
  const model: Task = { ...some, spec: service.spec.task, specVersion: service.specVersion };
  const loads = yield* loadsOf(model, counts, sight);
  const inTime = planMove(loads.map((load) => ({ ...load, takes: load.takesInMs < Number.POSITIVE_INFINITY })));
  if (inTime === undefined) return wait(true);
  const movable = yield* movableTasks(service, sight);
  if (movable === undefined) return wait(false);
  if (movable.restsInMs > 0) return { t: "later", inMs: movable.restsInMs };
  const move = planMove(
    loads.map((load) => ({
      ...load,
      // The view of the nodes may lag a little behind the tasks.
      tasks: movable.counts.get(load.info.id) ?? 0,
      takes: load.takesInMs <= 0,
      gives: load.gives && movable.byNode.has(load.info.id),
    })),
  );
  if (move !== undefined) return { t: "move", task: movable.byNode.get(move.from.info.id)!, to: move.to.info };
  const inMs = loads.reduce(
    (least, { takesInMs }) => (takesInMs > 0 ? Math.min(least, takesInMs) : least),
    movable.inMs,
  );
  return Number.isFinite(inMs) ? { t: "later", inMs } : wait(true);
}

function wait(uneven: boolean): Verdict {
  return { t: "wait", uneven };
}

interface Count {
  readonly info: NodeInfo;
  readonly node: Node;
  readonly tasks: number;
  readonly ready: boolean;
}

function* countTasks(service: Service, nodes: NodeSet): Steps<readonly Count[]> {
  const counts: Count[] = [];
  yield* inSteps(nodes.values(), (info) => {
    const { node } = info;
    if (node !== undefined) counts.push({ info, node, tasks: info.activeTasksOf(service.id), ready: isReady(node) });
  });
  return counts;
}

function isReady({ status, spec }: Node): boolean {
  return status.state === NodeStatus_State.READY && spec.availability === NodeSpec_Availability.ACTIVE;
}

/** No two nodes that work differ by two; with preferences it takes a closer look. */
function isEven({ spec }: Service, counts: readonly Count[]): boolean {
  if ((spec.task.placement?.preferences ?? []).length > 0) return false;
  let least = Number.POSITIVE_INFINITY;
  let most = 0;
  for (const { ready, tasks } of counts) {
    if (!ready) continue;
    least = Math.min(least, tasks);
    most = Math.max(most, tasks);
  }
  return most - least < 2;
}

function* loadsOf(model: Task, counts: readonly Count[], sight: Sight): Steps<readonly NodeLoad[]> {
  const pipeline = new Pipeline(model);
  const spreads = (model.spec.placement?.preferences ?? []).flatMap(({ spread }) => spread?.spreadDescriptor ?? []);
  const loads: NodeLoad[] = [];
  yield* inSteps(counts, ({ info, node, tasks, ready }) => {
    const values = spreads.map((descriptor) => labelOf(descriptor, node) ?? "");
    const fits = ready && pipeline.fits(info);
    const healsInMs = info.failureForgottenAt(model) - sight.now;
    const takesInMs = fits ? Math.max(sight.settlesInMs(info.id), healsInMs) : Number.POSITIVE_INFINITY;
    loads.push({ info, values, tasks, takes: fits, gives: ready && tasks > 0, takesInMs });
  });
  return loads;
}

/** Tasks that may be moved. */
interface Movable {
  /** Tasks on each node, all of them. */
  readonly counts: ReadonlyMap<string, number>;
  /** On each node the one that runs the shortest time, of those that have settled. */
  readonly byNode: ReadonlyMap<string, Task>;
  /** Until the next one has settled; Infinity when all have. */
  readonly inMs: Millis;
  /** Until the delay of the service's updates has passed for each task: a move is not faster than an update. */
  readonly restsInMs: Millis;
}

/** Undefined unless the service is at rest: all its replicas run, nothing of it begins, stops or moves. */
function* movableTasks(service: Service, sight: Sight): Steps<Movable | undefined> {
  const byNode = new Map<string, Task>();
  const counts = new Map<string, number>();
  const delayMs = durationMs(service.spec.update?.delay, 0);
  let inMs = Number.POSITIVE_INFINITY;
  let restsInMs = 0;
  let running = 0;
  let restless = false;
  yield* inSteps(sight.tasks(), (task) => {
    if (restless || hasStopped(task) || isLostRemnant(task, sight.nodes)) return;
    restless =
      task.desiredState !== TaskState.RUNNING ||
      task.status.state !== TaskState.RUNNING ||
      moveLabelOf(task, "moveTo") !== undefined;
    running++;
    counts.set(task.nodeId, (counts.get(task.nodeId) ?? 0) + 1);
    restsInMs = Math.max(restsInMs, sinceMs(task) + delayMs - sight.now);
    if (sight.isBound(task)) return;
    const settlesInMs = sinceMs(task) + sight.settleMs - sight.now;
    if (settlesInMs > 0) inMs = Math.min(inMs, settlesInMs);
    else if (isYounger(task, byNode.get(task.nodeId))) byNode.set(task.nodeId, task);
  });
  return restless || running !== service.spec.replicated?.replicas ? undefined : { counts, byNode, inMs, restsInMs };
}

/** It is to stop, and its node cannot say when it has: nobody waits for that. */
function isLostRemnant(task: Task, nodes: NodeSet): boolean {
  if (!isStopRequested(task)) return false;
  const node = nodes.get(task.nodeId)?.node;
  return node === undefined || node.status.state === NodeStatus_State.DOWN;
}

/** Since when the task runs, by managers' clocks. */
function sinceMs({ status }: Task): Millis {
  const stamp = status.appliedAt ?? status.timestamp;
  return stamp === undefined ? 0 : timestampMs(stamp);
}

function isYounger(task: Task, other: Task | undefined): boolean {
  if (other === undefined) return true;
  return sinceMs(task) === sinceMs(other) ? task.slot > other.slot : sinceMs(task) > sinceMs(other);
}
