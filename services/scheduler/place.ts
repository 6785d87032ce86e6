/** Pure: no clock, no I/O, no randomness. */
import { labelOf, type PlacementPreference, type Task } from "@starling/api";
import { Heap, type Millis } from "@starling/base";
import type { NodeInfo } from "./node-info.ts";
import type { Freed, NodeSet } from "./node-set.ts";
import { Pipeline, Refusals } from "./pipeline.ts";

/** A task and the node that is to run it; the node's books hold `task` already. */
export interface Placement {
  /** The task as it was, with its new node and generic resources. */
  readonly task: Task;
  readonly info: NodeInfo;
}

/** Tasks of a group that found no node, and why. */
export interface Unplaced {
  readonly tasks: readonly Task[];
  readonly explanation: string;
}

/** What was said when tasks of a group found no node, and what was freed since. */
export interface Leftover {
  readonly explanation: string;
  readonly freed: Freed;
}

/** A node in the running for a group. Lower is better: failures, then tasks of the service, then tasks. */
interface Candidate {
  readonly info: NodeInfo;
  readonly failures: number;
  ofService: number;
  total: number;
  /** Tasks of this group were placed on it since it was last known to fit. */
  stale: boolean;
}

/** One value of a spread preference: its nodes, or the branches of the next preference. */
interface Branch {
  /** Tasks of the service on all nodes of the branch, fit or not. */
  tasks: number;
  readonly children: Map<string, Branch>;
  /** The children by their tasks; those without room are gone. */
  order: Heap<Branch>;
  /** While nodes are gathered: the worst of the best on top. Then: the best on top. */
  candidates: Heap<Candidate>;
}

/** Nodes looked at between two yields. */
const NODES_PER_STEP = 512;

/**
 * Places tasks that share service and spec: evenly over the values of each spread preference, then to the node with
 * the fewest tasks of the service, then the fewest tasks; nodes on which the service keeps failing come last. Books
 * each placement on its node at once. Yields placements, and undefined now and then so that the caller can pause.
 * `last` tells of the time when tasks of the group were left over; undefined when none were.
 */
export function* placeGroup(
  group: readonly Task[],
  nodes: NodeSet,
  now: Millis,
  last?: Leftover,
): Generator<Placement | undefined, Unplaced> {
  const [model] = group;
  if (model === undefined) return { tasks: [], explanation: "" };
  const pipeline = new Pipeline(model);
  if (last !== undefined && !(yield* someFits(last.freed.nodes, pipeline))) {
    const explanation = last.freed.anyChanged ? yield* explain(pipeline, nodes) : last.explanation;
    return { tasks: group, explanation };
  }
  const root = newBranch();
  if (!gatherFresh(root, model, nodes, pipeline, group.length, now)) {
    let seen = 0;
    for (const info of nodes.values()) {
      if (info.node !== undefined) enlist(root, info, model, pipeline, group.length, now);
      if (++seen % NODES_PER_STEP === 0) yield undefined;
    }
  }
  rank(root);
  for (const [at, task] of group.entries()) {
    const placement = placeOne(root, task, pipeline);
    if (placement === undefined) return { tasks: group.slice(at), explanation: yield* explain(pipeline, nodes) };
    yield placement;
  }
  return { tasks: [], explanation: "" };
}

/** With pauses. */
function* someFits(nodes: Iterable<NodeInfo>, pipeline: Pipeline): Generator<undefined, boolean> {
  let seen = 0;
  for (const info of nodes) {
    if (pipeline.fits(info)) return true;
    if (++seen % NODES_PER_STEP === 0) yield undefined;
  }
  return false;
}

/** Why no node fits; with pauses. */
function* explain(pipeline: Pipeline, nodes: NodeSet): Generator<undefined, string> {
  const refusals = new Refusals();
  let seen = 0;
  for (const info of nodes.values()) {
    pipeline.refuse(info, refusals);
    if (++seen % NODES_PER_STEP === 0) yield undefined;
  }
  return refusals.text();
}

function newBranch(): Branch {
  return { tasks: 0, children: new Map(), order: new Heap<Branch>(() => false), candidates: new Heap(worse) };
}

/** Groups up to this size are placed without looking at all nodes, if nodes new to the service can be found. */
const FRESH_GROUP_MAX = 64;
/** Nodes looked at before that is given up. */
const FRESH_NODES_MAX = 256;

/**
 * Gathers the best nodes from the short end: nodes without tasks of the service, fewest tasks first, come before all
 * others. False, with nothing gathered, when there are not enough of them early on or the group has preferences.
 */
function gatherFresh(
  root: Branch,
  model: Task,
  nodes: NodeSet,
  pipeline: Pipeline,
  wanted: number,
  now: Millis,
): boolean {
  const preferences = model.spec.placement?.preferences ?? noPreferences;
  if (wanted > FRESH_GROUP_MAX || preferences.length > 0) return false;
  const fresh: Candidate[] = [];
  let seen = 0;
  for (const info of nodes.leastActiveFirst()) {
    if (++seen > FRESH_NODES_MAX) return false;
    if (info.activeTasksOf(model.serviceId) > 0 || info.failuresOf(model, now) > 0 || !pipeline.fits(info)) continue;
    fresh.push({ info, failures: 0, ofService: 0, total: info.activeTasks, stale: false });
    if (fresh.length < wanted) continue;
    for (const candidate of fresh) root.candidates.push(candidate);
    return true;
  }
  return false;
}

/** Files a node under its branch, if it fits and is among the `limit` best there. */
function enlist(root: Branch, info: NodeInfo, model: Task, pipeline: Pipeline, limit: number, now: Millis): void {
  const ofService = info.activeTasksOf(model.serviceId);
  let branch = root;
  for (const preference of model.spec.placement?.preferences ?? noPreferences) {
    const value = preference.spread && labelOf(preference.spread.spreadDescriptor, info.node!);
    if (value === undefined) continue;
    branch.tasks += ofService;
    let next = branch.children.get(value);
    if (next === undefined) {
      next = newBranch();
      branch.children.set(value, next);
    }
    branch = next;
  }
  branch.tasks += ofService;
  const failures = info.failuresOf(model, now);
  const { candidates } = branch;
  const full = candidates.size >= limit;
  if (full && !isBetter(failures, ofService, info.activeTasks, candidates.top!)) return;
  if (!pipeline.fits(info)) return;
  const candidate = { info, failures, ofService, total: info.activeTasks, stale: false };
  if (full) candidates.replaceTop(candidate);
  else candidates.push(candidate);
}

const noPreferences: readonly PlacementPreference[] = [];

function isBetter(failures: number, ofService: number, total: number, than: Candidate): boolean {
  if (failures !== than.failures) return failures < than.failures;
  if (ofService !== than.ofService) return ofService < than.ofService;
  return total < than.total;
}

function better(a: Candidate, b: Candidate): boolean {
  return isBetter(a.failures, a.ofService, a.total, b);
}

function worse(a: Candidate, b: Candidate): boolean {
  return better(b, a);
}

/** Turns the gathered heaps round: the best node and the branch with the fewest tasks on top. */
function rank(branch: Branch): void {
  for (const child of branch.children.values()) rank(child);
  branch.order = new Heap((a, b) => a.tasks < b.tasks, [...branch.children.values()]);
  branch.candidates = new Heap(better, branch.candidates.release());
}

/** Places one task in the branch: on its best node, or in the child with the fewest tasks that has room. */
function placeOne(branch: Branch, task: Task, pipeline: Pipeline): Placement | undefined {
  const placement = branch.children.size === 0 ? placeOnBest(branch.candidates, task, pipeline) : undefined;
  if (placement !== undefined) {
    branch.tasks++;
    return placement;
  }
  for (let child = branch.order.top; child !== undefined; child = branch.order.top) {
    const within = placeOne(child, task, pipeline);
    if (within !== undefined) {
      branch.tasks++;
      branch.order.topChanged();
      return within;
    }
    branch.order.pop();
  }
  return undefined;
}

function placeOnBest(candidates: Heap<Candidate>, waiting: Task, pipeline: Pipeline): Placement | undefined {
  for (let best = candidates.top; best !== undefined; best = candidates.top) {
    const { info } = best;
    if (best.stale && !pipeline.stillFits(info)) {
      candidates.pop();
      continue;
    }
    const task = { ...waiting, nodeId: info.id, assignedGenericResources: info.selectGeneric(waiting) };
    info.setTask(task);
    best.stale = true;
    best.ofService++;
    best.total++;
    candidates.topChanged();
    return { task, info };
  }
  return undefined;
}
