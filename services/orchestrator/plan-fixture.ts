import {
  Annotations,
  JobStatus,
  Meta,
  Node,
  NodeSpec,
  NodeSpec_Availability,
  NodeStatus,
  NodeStatus_State,
  ReplicatedJob,
  ReplicatedService,
  Service,
  ServiceSpec,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
  timestampOfMs,
  type UpdateStatus,
} from "@starling/api";
import { atOnce } from "@starling/base";
import { planService } from "./plan-service.ts";

/** Services, tasks and nodes for tests of what is planned, and the plan for them: the time of all is `t0`, in milliseconds. */
export const t0 = 1_000_000;
export const { NEW, READY, RUNNING, COMPLETE, FAILED, SHUTDOWN, REMOVE } = TaskState;

export function service(
  over: Partial<ServiceSpec> & { replicas?: number; version?: number; task?: TaskSpec },
  status?: UpdateStatus,
): Service {
  const { replicas = 3, version = 1, ...spec } = over;
  return Service.create({
    id: "s",
    spec: ServiceSpec.create({ replicated: ReplicatedService.create({ replicas }), ...spec }),
    specVersion: { index: version },
    updateStatus: status,
  });
}

export interface TaskInit {
  slot?: number;
  node?: string;
  state?: TaskState;
  desired?: TaskState;
  version?: number;
  createdMs?: number;
  force?: number;
  iteration?: number;
}
export function task(id: string, init: TaskInit): Task {
  const { slot = 1, node = "n1", state = RUNNING, desired = RUNNING, version = 1, createdMs = t0, force = 0 } = init;
  const { iteration } = init;
  return Task.create({
    id,
    serviceId: "s",
    slot,
    nodeId: node,
    spec: TaskSpec.create({ forceUpdate: force }),
    specVersion: { index: version },
    meta: Meta.create({ createdAt: timestampOfMs(createdMs) }),
    status: TaskStatus.create({ state, timestamp: timestampOfMs(t0), appliedAt: timestampOfMs(t0) }),
    desiredState: desired,
    jobIteration: iteration === undefined ? undefined : { index: iteration },
  });
}

export function node(id: string, over: { state?: NodeStatus_State; availability?: NodeSpec_Availability } = {}): Node {
  return Node.create({
    id,
    spec: NodeSpec.create({
      annotations: Annotations.create(),
      availability: over.availability ?? NodeSpec_Availability.ACTIVE,
    }),
    status: NodeStatus.create({ state: over.state ?? NodeStatus_State.READY }),
  });
}

export function plan(
  s: Service,
  tasks: readonly Task[],
  options: { nowMs?: number; nodes?: readonly Node[]; runningSince?: Readonly<Record<string, number>> } = {},
) {
  const nodes = options.nodes ?? [node("n1"), node("n2")];
  const observed = {
    nowMs: options.nowMs ?? t0,
    node: (id: string) => nodes.find((n) => n.id === id),
    runningSinceMs: (id: string) => options.runningSince?.[id],
  };
  return atOnce(planService(s, tasks, nodes, observed))!;
}
export const failedStatus = TaskStatus.create({ state: FAILED, appliedAt: timestampOfMs(t0) });

export function jobOf(totalCompletions: number): Service {
  const spec = ServiceSpec.create({ replicatedJob: ReplicatedJob.create({ totalCompletions }) });
  return Service.create({ id: "s", spec, jobStatus: JobStatus.create({ jobIteration: { index: 2 } }) });
}
export const desire = (taskId: string, state: TaskState) => ({ taskId, state });
export const create = (slot: number | string, desiredState: TaskState) => ({ slot, desiredState });
