import {
  enforcedMessage,
  moveLabelOf,
  type Service,
  type Task,
  TaskState,
  UpdateConfig_FailureAction,
} from "@starling/api";
import type { StoreEvent } from "@starling/store";
import type { Lie } from "./lying-store.ts";

/** Whose store a mutant changes. */
export type Station = "orchestrator" | "allocator" | "scheduler" | "dispatcher";

/** One rule switched off, to show that a check would see it. Wrapped around the production code, never in it. */
export interface Mutant {
  /** The rule that does not hold. */
  readonly name: string;
  readonly station: Station;
  readonly lie: Lie;
}

const { READY, RUNNING, SHUTDOWN, REMOVE, COMPLETE } = TaskState;

/** Some tasks, always the same ones: a mutant that strikes all of them would be found by anything. */
const isChosen = ({ id }: Task): boolean => id < "4";

export const mutants: readonly Mutant[] = [
  {
    name: "a successor starts before its predecessor has stopped",
    station: "orchestrator",
    lie: {
      writes: (task, how) =>
        how === "create" && task.desiredState === READY ? { ...task, desiredState: RUNNING } : task,
    },
  },
  {
    name: "an update takes all slots at once",
    station: "orchestrator",
    lie: { shows: { service: withoutParallelism } },
  },
  {
    name: "what is too much after a scale-down stays",
    station: "orchestrator",
    lie: { writes: (task) => (task.desiredState === REMOVE && isChosen(task) ? undefined : task) },
  },
  {
    name: "a desired state goes back",
    station: "orchestrator",
    lie: {
      writes: (task, how) =>
        how === "update" && isChosen(task) && task.desiredState === SHUTDOWN ? { ...task, desiredState: READY } : task,
    },
  },
  {
    name: "a task that its node outgrew stays",
    station: "orchestrator",
    lie: {
      writes: (task) => (task.status.message === enforcedMessage && task.desiredState === RUNNING ? undefined : task),
    },
  },
  { name: "history is never deleted", station: "orchestrator", lie: { keeps: true } },
  {
    name: "constraints are not looked at",
    station: "scheduler",
    lie: { shows: { task: (task) => ({ ...task, spec: { ...task.spec, placement: undefined } }) } },
  },
  {
    name: "reservations are not counted",
    station: "scheduler",
    lie: { shows: { task: (task) => ({ ...task, spec: { ...task.spec, resources: undefined } }) } },
  },
  {
    name: "host ports are not counted",
    station: "scheduler",
    lie: { shows: { task: (task) => ({ ...task, endpoint: undefined }) } },
  },
  {
    name: "what is uneven stays so",
    station: "scheduler",
    lie: { writes: (task) => (moveLabelOf(task, "moveTo") === undefined ? task : undefined) },
  },
  {
    name: "a place that becomes free is not noticed",
    station: "scheduler",
    lie: { loses: isEnd },
  },
  {
    name: "a new leader gives out the addresses of running tasks again",
    station: "allocator",
    lie: { shows: { task: (task) => ({ ...task, networks: [] }) } },
  },
  {
    name: "the end of a task is not recorded",
    station: "dispatcher",
    lie: { writes: (task) => (task.status.state >= COMPLETE && isChosen(task) ? undefined : task) },
  },
  {
    name: "a node is not told that a task is to stop",
    station: "dispatcher",
    lie: { loses: (event) => event.kind === "task" && event.object.desiredState >= SHUTDOWN && isChosen(event.object) },
  },
];

function isEnd(event: StoreEvent): boolean {
  return event.kind === "task" && event.action !== "create" && event.object.status.state > RUNNING;
}

function withoutParallelism(service: Service): Service {
  const { spec } = service;
  const failureAction = UpdateConfig_FailureAction.CONTINUE;
  return spec.update
    ? { ...service, spec: { ...spec, update: { ...spec.update, parallelism: 0, failureAction } } }
    : service;
}
