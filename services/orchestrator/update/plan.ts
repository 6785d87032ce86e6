/** Pure: no clock, no I/O, no randomness. */
import {
  UpdateConfig_FailureAction as Action,
  durationMs,
  isTaskDirty,
  UpdateConfig_UpdateOrder as Order,
  type Service,
  UpdateStatus_UpdateState as State,
  type Task,
  TaskState,
  timestampOfMs,
  UpdateConfig,
  UpdateStatus,
  updateDeadlineLabel,
  updateDeadlineMs,
} from "@starling/api";
import { filterInSteps, inSteps, type Steps, setInSteps } from "@starling/base";
import { type Observed, type Plan, wakeAt } from "../plan.ts";
import { restartDelayMs } from "../restart/policy.ts";
import { endedByItself, hasEnded, isWanted, type Slot, stampMs } from "../slot.ts";

const defaultMonitorMs = 5_000;
/** The last slot is watched for so long beyond a delay that is longer than the monitored period. */
const afterDelayMs = 1_000;

/** Swarm's defaults: one at a time, no delay, watched for 5 s, pause at the first failure, stop-first. */
const defaultConfig = UpdateConfig.create({ parallelism: 1 });

/**
 * The next steps of a rolling update. Its whole state is read off the store: slots whose wanted tasks are all of an older
 * spec are dirty (slots that this plan refills already are not); a slot is being worked on until its new task runs and the delay after that has passed. So a new leader
 * goes on where the old one stopped.
 */
export function* planUpdate(stored: Service, slots: readonly Slot[], observed: Observed, plan: Plan): Steps<void> {
  if (isPaused(stored.updateStatus?.state)) return;
  const isPlain = ({ tasks: [first, second] }: Slot) =>
    first !== undefined && second === undefined && !isTaskDirty(stored, first, observed.node(first.nodeId));
  const replaced = yield* setInSteps(plan.create, (step) => step.slot);
  const begun = isActive(stored.updateStatus?.state);
  // What most passes come to, and cheaper than views of all slots.
  if (!begun && (yield* filterInSteps(slots, (slot) => !isPlain(slot))).length === 0) return;
  const service = begun ? stored : { ...stored, updateStatus: started(observed.nowMs) };
  const rollingBack = service.updateStatus?.state === State.ROLLBACK_STARTED;
  const config = updateConfigOf(service);
  const views: SlotView[] = [];
  yield* inSteps(slots, (slot) => {
    if (replaced.has(slot.key)) return;
    const view = viewSlot(service, slot, config, observed);
    endOldBeside(view, plan);
    views.push(view);
  });
  const dirty = yield* filterInSteps(views, (view) => view.dirty);
  if (!begun) {
    if (dirty.length === 0) return;
    plan.service = { updateStatus: started(observed.nowMs) };
  }
  const failed = yield* findFailure(service, slots, config, observed);
  if (failed && config.failureAction !== Action.CONTINUE) {
    const reason = `due to failure or early termination of task ${failed.id}`;
    plan.service = onFailure(service, reason, config, rollingBack, observed.nowMs);
    return;
  }
  const late = yield* whyLate(service, views, observed, plan);
  if (late !== undefined) {
    plan.service = onFailure(service, late, config, rollingBack, observed.nowMs);
    return;
  }
  const isBusy = (view: SlotView) => view.busyUntilMs > observed.nowMs;
  const busy = yield* filterInSteps(views, isBusy);
  yield* inSteps(busy, (view) => {
    if (Number.isFinite(view.busyUntilMs)) wakeAt(plan, view.busyUntilMs);
  });
  const free = config.parallelism === 0 ? dirty.length : Math.max(0, config.parallelism - busy.length);
  const untried: SlotView[] = [];
  const tried: SlotView[] = [];
  yield* inSteps(dirty, (view) => {
    if (isBusy(view)) return;
    if (view.retryAtMs > observed.nowMs) wakeAt(plan, view.retryAtMs);
    else (view.retryAtMs === 0 ? untried : tried).push(view);
  });
  const next = [...untried, ...tried.sort((a, b) => a.retryAtMs - b.retryAtMs)].slice(0, free);
  yield* inSteps(next, (view) => replace(view, config, plan));
  if (dirty.length === 0 && busy.length === 0) complete(service, views, config, rollingBack, observed, plan);
}

/** The config that its update, or its roll-back, goes by. */
export function updateConfigOf(service: Service): UpdateConfig {
  const rollingBack = service.updateStatus?.state === State.ROLLBACK_STARTED;
  return (rollingBack ? service.spec.rollback : service.spec.update) ?? defaultConfig;
}

interface SlotView {
  readonly slot: Slot;
  /** Wanted tasks of an older spec. */
  readonly old: readonly Task[];
  /** Wanted tasks of the current spec. */
  readonly current: readonly Task[];
  /** No wanted task is of the current spec. */
  readonly dirty: boolean;
  /** Under work until then: Infinity while its new task is still on the way. */
  readonly busyUntilMs: number;
  /** When the current task ran first; undefined while it does not. */
  readonly runningSinceMs: number | undefined;
  /** Not before then is a new task tried once more, after one that failed beside the old; 0 for a slot that none was tried in. */
  readonly retryAtMs: number;
}

function viewSlot(service: Service, slot: Slot, config: UpdateConfig, observed: Observed): SlotView {
  const wanted = slot.tasks.filter(isWanted);
  const resting = wanted.length === 0 ? slot.tasks.slice(-1) : wanted;
  const old = resting.filter((task) => isTaskDirty(service, task, observed.node(task.nodeId)));
  const current = resting.filter((task) => !old.includes(task));
  const begun = stampMs(service.updateStatus?.startedAt);
  const fresh = current.filter((task) => stampMs(task.meta.createdAt) >= begun);
  const newest = fresh.at(-1);
  const since = newest && newest.status.state >= TaskState.RUNNING ? runningSince(newest, observed) : undefined;
  const failed = slot.tasks.findLast((task) => hasEnded(task) && !isWanted(task) && isFailedByUpdate(task, service));
  // Restarts of what failed in the old one's place go on beside the update; a new try beside the old one is work of its own,
  // also if the old one is lost before it runs.
  const isOlder = (task: Task) => isTaskDirty(service, task, observed.node(task.nodeId));
  const outlived = (task: Task) =>
    newest !== undefined && endMs(task) > stampMs(newest.meta.createdAt) && isOlder(task);
  const besideOld = () => (config.order === Order.START_FIRST ? slot.tasks.some(outlived) : old.length > 0);
  const restarts = failed !== undefined && !besideOld();
  const endedMs = stampMs(failed?.status.appliedAt ?? failed?.status.timestamp);
  const retryAtMs = failed === undefined ? 0 : endedMs + restartDelayMs(service);
  let busyUntilMs = 0;
  if (newest && since === undefined && !restarts) busyUntilMs = Number.POSITIVE_INFINITY;
  else if (since !== undefined) busyUntilMs = since + durationMs(config.delay, 0);
  return { slot, old, current, dirty: current.length === 0, busyUntilMs, runningSinceMs: since, retryAtMs };
}

/** When the task was known to have ended; Infinity while it is not. */
function endMs(task: Task): number {
  return hasEnded(task) ? stampMs(task.status.appliedAt ?? task.status.timestamp) : Number.POSITIVE_INFINITY;
}

/** Old task out, new one held at READY until it has stopped; or, start-first, new one in beside the old. */
function replace(view: SlotView, config: UpdateConfig, plan: Plan): void {
  const startFirst = config.order === Order.START_FIRST && view.old.some((task) => !hasEnded(task));
  plan.create.push({ slot: view.slot.key, desiredState: startFirst ? TaskState.RUNNING : TaskState.READY });
  if (startFirst) return;
  for (const task of view.old) {
    if (isWanted(task)) plan.desire.push({ taskId: task.id, state: TaskState.SHUTDOWN });
  }
}

/**
 * Start-first, be it an earlier spec's: the old ones go once the new one runs. So do earlier ones that the spec of now is
 * content with, too: a slot is for one.
 */
function endOldBeside({ slot, old, current }: SlotView, plan: Plan): void {
  const newest = current.findLast((task) => task.status.state === TaskState.RUNNING);
  if (newest === undefined) return;
  const earlier = slot.tasks.slice(0, slot.tasks.indexOf(newest));
  for (const task of new Set([...old, ...current.filter((each) => earlier.includes(each))])) {
    if (isWanted(task)) plan.desire.push({ taskId: task.id, state: TaskState.SHUTDOWN });
  }
}

/** Completed once every new task has run for the monitored time. */
function complete(
  service: Service,
  views: readonly SlotView[],
  config: UpdateConfig,
  rollingBack: boolean,
  observed: Observed,
  plan: Plan,
): void {
  const monitorMs = durationMs(config.monitor, defaultMonitorMs);
  const delayMs = durationMs(config.delay, 0);
  let last = stampMs(service.updateStatus?.startedAt);
  for (const view of views) last = Math.max(last, view.runningSinceMs ?? 0);
  const until = last + (delayMs >= monitorMs ? delayMs + afterDelayMs : monitorMs);
  if (observed.nowMs < until) {
    wakeAt(plan, until);
    return;
  }
  plan.service = {
    updateStatus: UpdateStatus.create({
      ...service.updateStatus,
      state: rollingBack ? State.ROLLBACK_COMPLETED : State.COMPLETED,
      completedAt: timestampOfMs(observed.nowMs),
      message: rollingBack ? "rollback completed" : "update completed",
    }),
  };
}

/** The task whose early end makes the share of failed slots exceed what the config allows. */
function* findFailure(
  service: Service,
  slots: readonly Slot[],
  config: UpdateConfig,
  observed: Observed,
): Steps<Task | undefined> {
  const monitorMs = durationMs(config.monitor, defaultMonitorMs);
  const failed: Task[] = [];
  yield* inSteps(slots, (slot) => {
    const task = slot.tasks.find((candidate) => {
      if (!isFailedByUpdate(candidate, service)) return false;
      const since = observed.runningSinceMs(candidate.id);
      return (
        since === undefined || stampMs(candidate.status.appliedAt ?? candidate.status.timestamp) <= since + monitorMs
      );
    });
    if (task) failed.push(task);
  });
  if (failed.length === 0) return undefined;
  return failed.length / Math.max(1, slots.length) > config.maxFailureRatio ? failed.at(-1) : undefined;
}

/**
 * Why the update is too late by the service's deadline, if it has one; else it is looked at again then. Tasks that all run are in
 * time: what is left, delay and monitoring, ends by itself.
 */
function* whyLate(
  service: Service,
  views: readonly SlotView[],
  observed: Observed,
  plan: Plan,
): Steps<string | undefined> {
  const deadlineMs = updateDeadlineMs(service.spec.annotations.labels);
  if (deadlineMs === undefined) return undefined;
  const missing = yield* filterInSteps(views, (view) => view.dirty || view.busyUntilMs === Number.POSITIVE_INFINITY);
  if (missing.length === 0) return undefined;
  const until = stampMs(service.updateStatus?.startedAt) + deadlineMs;
  if (observed.nowMs < until) {
    wakeAt(plan, until);
    return undefined;
  }
  const text = service.spec.annotations.labels[updateDeadlineLabel];
  const count = `${views.length - missing.length} of ${views.length} tasks updated`;
  const task = missing.flatMap((view) => view.current).at(-1);
  const what = task && (task.status.err || task.status.message);
  return `since its deadline of ${text} has passed with ${count}${task ? `: task ${task.id}: ${what || "not running"}` : ""}`;
}

function onFailure(
  service: Service,
  reason: string,
  config: UpdateConfig,
  rollingBack: boolean,
  nowMs: number,
): Plan["service"] {
  const current = service.updateStatus;
  if (config.failureAction === Action.ROLLBACK && !rollingBack && service.previousSpec) {
    return {
      updateStatus: UpdateStatus.create({
        state: State.ROLLBACK_STARTED,
        startedAt: timestampOfMs(nowMs),
        message: `update rolled back ${reason}`,
      }),
      rollback: { spec: service.previousSpec, specVersion: service.previousSpecVersion },
    };
  }
  return {
    updateStatus: UpdateStatus.create({
      ...current,
      state: rollingBack ? State.ROLLBACK_PAUSED : State.PAUSED,
      message: `${rollingBack ? "rollback" : "update"} paused ${reason}`,
    }),
  };
}

function started(nowMs: number): UpdateStatus {
  return UpdateStatus.create({ state: State.UPDATING, startedAt: timestampOfMs(nowMs), message: "update in progress" });
}

function isActive(state: State | undefined): boolean {
  return state === State.UPDATING || state === State.ROLLBACK_STARTED;
}

/** An update or a roll-back goes on. */
export function isUpdating(service: Service | undefined): boolean {
  return isActive(service?.updateStatus?.state);
}

function isPaused(state: State | undefined): boolean {
  return state === State.PAUSED || state === State.ROLLBACK_PAUSED;
}

/** Created by the update in progress (of the current spec version and not older than its start), and ended by itself. */
export function isFailedByUpdate(task: Task, service: Service): boolean {
  return (
    task.specVersion?.index === service.specVersion?.index &&
    stampMs(task.meta.createdAt) >= stampMs(service.updateStatus?.startedAt) &&
    endedByItself(task)
  );
}

function runningSince(task: Task, observed: Observed): number {
  return observed.runningSinceMs(task.id) ?? stampMs(task.status.appliedAt ?? task.status.timestamp);
}
