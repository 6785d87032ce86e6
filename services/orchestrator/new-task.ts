/** Pure: no clock, no I/O, no randomness. */
import {
  type Cluster,
  Endpoint,
  needsAllocation,
  pendingMessage,
  type Service,
  TaskState as State,
  Task,
  type TaskState,
  TaskStatus,
  timestampOfMs,
} from "@starling/api";
import type { SlotKey } from "./slot.ts";

/** What all tasks share whose service asks for nothing. */
const noEndpoint = Endpoint.create();

/**
 * A task of `service` in state NEW, as Swarm makes it; PENDING where the allocator has nothing to give, which spares each task
 * a round through the log. A node id as slot makes it a global service's task.
 */
export function newTask(options: {
  readonly id: string;
  readonly service: Service;
  readonly cluster: Cluster | undefined;
  readonly slot: SlotKey;
  readonly desiredState: TaskState;
  readonly nowMs: number;
}): Task {
  const { service, slot } = options;
  const [state, message] = needsAllocation(service) ? [State.NEW, "created"] : [State.PENDING, pendingMessage];
  const defaultLogDriver = options.cluster?.spec.taskDefaults.logDriver;
  return Task.create({
    id: options.id,
    serviceAnnotations: service.spec.annotations,
    spec: service.spec.task,
    specVersion: service.specVersion,
    serviceId: service.id,
    slot: typeof slot === "number" ? slot : 0,
    nodeId: typeof slot === "string" ? slot : "",
    status: TaskStatus.create({ state, timestamp: timestampOfMs(options.nowMs), message }),
    endpoint: service.spec.endpoint ? Endpoint.create({ spec: service.spec.endpoint }) : noEndpoint,
    desiredState: options.desiredState,
    jobIteration: service.jobStatus?.jobIteration,
    logDriver: service.spec.task.logDriver ?? defaultLogDriver,
  });
}
