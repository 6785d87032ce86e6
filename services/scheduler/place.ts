/** Pure: no clock, no I/O, no randomness. */
import { labelOf, type PlacementPreference, type PlacementStrategy, type Task } from "@starling/api";
import { Heap, type Millis, type Steps } from "@starling/base";
import type { NodeInfo } from "./node-info.ts";
import type { Freed, NodeSet } from "./node-set.ts";
import { fullness, type Room } from "./packed-order.ts";
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

/** A node's place among those that fit, by three numbers of which lower is better, the first one first. */
interface Rank {
  readonly failures: number;
  /** Spread: tasks of the service. Binpack: how empty the node is. */
  readonly load: number;
  /** Spread: tasks. Binpack: these less than zero, so that more are better. */
  readonly total: number;
}

/** A node in the running for a group. */
interface Candidate {
  readonly info: NodeInfo;
  rank: Rank;
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

export interface PlaceOptions {
  readonly now: Millis;
  /** Default: spread. */
  readonly strategy?: PlacementStrategy;
  /** Of the time when tasks of the group were left over; undefined when none were. */
  readonly last?: Leftover | undefined;
}

/** What is the same for all nodes while a group is placed. */
interface Placing {
  readonly model: Task;
  readonly pipeline: Pipeline;
  readonly strategy: PlacementStrategy;
  readonly now: Millis;
}

/**
 * Places tasks that share service and spec: evenly over the values of each spread preference, then, to spread, on the node with
 * the fewest tasks of the service, then the fewest tasks, or, to bin-pack, on the one most used by reservations, then with the
 * most tasks. Nodes on which the service keeps failing come last. Books each placement on its node at once. Yields placements,
 * and undefined now and then so that the caller can pause.
 */
export function* placeGroup(
  group: readonly Task[],
  nodes: NodeSet,
  { now, strategy = "spread", last }: PlaceOptions,
): Generator<Placement | undefined, Unplaced> {
  const [model] = group;
  if (model === undefined) return { tasks: [], explanation: "" };
  const pipeline = new Pipeline(model);
  if (last !== undefined && !(yield* someFits(last.freed.nodes, pipeline))) {
    const explanation = last.freed.anyChanged ? yield* explain(pipeline, nodes) : last.explanation;
    return { tasks: group, explanation };
  }
  const placing: Placing = { model, pipeline, strategy, now };
  const isFlat = (model.spec.placement?.preferences ?? noPreferences).length === 0;
  if (isFlat && strategy === "binpack") return yield* fill(group, nodes, placing);
  const root = newBranch();
  if (!isFlat || !gatherFresh(root, nodes, placing, group.length)) {
    let seen = 0;
    for (const info of nodes.values()) {
      if (info.node !== undefined) enlist(root, info, placing, group.length);
      if (++seen % NODES_PER_STEP === 0) yield undefined;
    }
  }
  yield* sortOut(root);
  for (const [at, task] of group.entries()) {
    const placement = placeOne(root, task, placing);
    if (placement === undefined) return { tasks: group.slice(at), explanation: yield* explain(pipeline, nodes) };
    yield placement;
  }
  return { tasks: [], explanation: "" };
}

/**
 * Bin-packs: fills one node after the other, the fullest first. Filling makes a node fuller still, so the order that held at the
 * beginning goes on to hold.
 */
function* fill(
  group: readonly Task[],
  nodes: NodeSet,
  { model, pipeline, now }: Placing,
): Generator<Placement | undefined, Unplaced> {
  const failing: { readonly info: NodeInfo; readonly failures: number }[] = [];
  let placed = 0;
  let seen = 0;
  for (const info of nodes.fullestFirst(roomFor(model))) {
    if (placed === group.length) break;
    if (++seen % NODES_PER_STEP === 0 || info === undefined) yield undefined;
    if (info === undefined) continue;
    const failures = info.failuresOf(model, now);
    if (failures > 0) failing.push({ info, failures });
    else placed += yield* fillNode(info, group, placed, pipeline);
  }
  failing.sort((a, b) => a.failures - b.failures);
  for (const { info } of failing) placed += yield* fillNode(info, group, placed, pipeline);
  const tasks = group.slice(placed);
  return { tasks, explanation: tasks.length > 0 ? yield* explain(pipeline, nodes) : "" };
}

/** Places tasks of the group, from number `from` on, for as long as the node fits; how many. */
function* fillNode(
  info: NodeInfo,
  group: readonly Task[],
  from: number,
  pipeline: Pipeline,
): Generator<Placement, number> {
  if (!pipeline.fits(info)) return 0;
  let at = from;
  while (at < group.length && (at === from || pipeline.stillFits(info))) yield bookOn(info, group[at++]!);
  return at - from;
}

function roomFor(task: Task): Room {
  const wanted = task.spec.resources?.reservations;
  const asks = wanted !== undefined && (wanted.nanoCpus > 0 || wanted.memoryBytes > 0 || wanted.generic.length > 0);
  // What reserves nothing runs on an overcommitted node, too.
  return asks ? wanted : { nanoCpus: Number.NEGATIVE_INFINITY, memoryBytes: Number.NEGATIVE_INFINITY };
}

function* someFits(nodes: Iterable<NodeInfo>, pipeline: Pipeline): Steps<boolean> {
  let seen = 0;
  for (const info of nodes) {
    if (pipeline.fits(info)) return true;
    if (++seen % NODES_PER_STEP === 0) yield undefined;
  }
  return false;
}

/** Why no node fits. */
function* explain(pipeline: Pipeline, nodes: NodeSet): Steps<string> {
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
 * others. False, with nothing gathered, when there are not enough of them early on. For groups to be spread, without preferences.
 */
function gatherFresh(root: Branch, nodes: NodeSet, { model, pipeline, now }: Placing, wanted: number): boolean {
  if (wanted > FRESH_GROUP_MAX) return false;
  const fresh: Candidate[] = [];
  let seen = 0;
  for (const info of nodes.leastActiveFirst()) {
    if (++seen > FRESH_NODES_MAX) return false;
    if (info.activeTasksOf(model.serviceId) > 0 || info.failuresOf(model, now) > 0 || !pipeline.fits(info)) continue;
    fresh.push({ info, rank: { failures: 0, load: 0, total: info.activeTasks }, stale: false });
    if (fresh.length < wanted) continue;
    for (const candidate of fresh) root.candidates.push(candidate);
    return true;
  }
  return false;
}

function rankOf(info: NodeInfo, { model, strategy, now }: Placing): Rank {
  const failures = info.failuresOf(model, now);
  return strategy === "binpack"
    ? { failures, load: -fullness(info), total: -info.activeTasks }
    : { failures, load: info.activeTasksOf(model.serviceId), total: info.activeTasks };
}

/** Files a node under its branch, if it fits and is among the `limit` best there. */
function enlist(root: Branch, info: NodeInfo, placing: Placing, limit: number): void {
  const { model, pipeline } = placing;
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
  const rank = rankOf(info, placing);
  const { candidates } = branch;
  const full = candidates.size >= limit;
  if (full && !isBetter(rank, candidates.top!.rank)) return;
  if (!pipeline.fits(info)) return;
  const candidate = { info, rank, stale: false };
  if (full) candidates.replaceTop(candidate);
  else candidates.push(candidate);
}

const noPreferences: readonly PlacementPreference[] = [];

function isBetter(rank: Rank, than: Rank): boolean {
  if (rank.failures !== than.failures) return rank.failures < than.failures;
  if (rank.load !== than.load) return rank.load < than.load;
  return rank.total < than.total;
}

function better(a: Candidate, b: Candidate): boolean {
  return isBetter(a.rank, b.rank);
}

function worse(a: Candidate, b: Candidate): boolean {
  return better(b, a);
}

/** Turns the gathered heaps round: the best node and the branch with the fewest tasks on top. */
function* sortOut(branch: Branch): Steps<void> {
  for (const child of branch.children.values()) yield* sortOut(child);
  branch.order = yield* Heap.of((a, b) => a.tasks < b.tasks, [...branch.children.values()]);
  branch.candidates = yield* Heap.of(better, branch.candidates.release());
}

/** Places one task in the branch: on its best node, or in the child with the fewest tasks that has room. */
function placeOne(branch: Branch, task: Task, placing: Placing): Placement | undefined {
  const placement = branch.children.size === 0 ? placeOnBest(branch.candidates, task, placing) : undefined;
  if (placement !== undefined) {
    branch.tasks++;
    return placement;
  }
  for (let child = branch.order.top; child !== undefined; child = branch.order.top) {
    const within = placeOne(child, task, placing);
    if (within !== undefined) {
      branch.tasks++;
      branch.order.topChanged();
      return within;
    }
    branch.order.pop();
  }
  return undefined;
}

function placeOnBest(candidates: Heap<Candidate>, waiting: Task, placing: Placing): Placement | undefined {
  for (let best = candidates.top; best !== undefined; best = candidates.top) {
    if (best.stale && !placing.pipeline.stillFits(best.info)) {
      candidates.pop();
      continue;
    }
    const placement = bookOn(best.info, waiting);
    best.stale = true;
    best.rank = rankOf(best.info, placing);
    candidates.topChanged();
    return placement;
  }
  return undefined;
}

function bookOn(info: NodeInfo, waiting: Task): Placement {
  const task = { ...waiting, nodeId: info.id, assignedGenericResources: info.selectGeneric(waiting) };
  info.setTask(task);
  return { task, info };
}
