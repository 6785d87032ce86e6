/** Pure: no clock, no I/O, no randomness. */
import {
  type Cluster,
  Endpoint,
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

/** A task of `service` in state NEW, as Swarm makes it. A node id as slot makes it a global service's task. */
export function newTask(options: {
  readonly id: string;
  readonly service: Service;
  readonly cluster: Cluster | undefined;
  readonly slot: SlotKey;
  readonly desiredState: TaskState;
  readonly nowMs: number;
}): Task {
  const { service, slot } = options;
  const defaultLogDriver = options.cluster?.spec.taskDefaults.logDriver;
  return Task.create({
    id: options.id,
    serviceAnnotations: service.spec.annotations,
    spec: service.spec.task,
    specVersion: service.specVersion,
    serviceId: service.id,
    slot: typeof slot === "number" ? slot : 0,
    nodeId: typeof slot === "string" ? slot : "",
    status: TaskStatus.create({ state: State.NEW, timestamp: timestampOfMs(options.nowMs), message: "created" }),
    endpoint: service.spec.endpoint ? Endpoint.create({ spec: service.spec.endpoint }) : noEndpoint,
    desiredState: options.desiredState,
    jobIteration: service.jobStatus?.jobIteration,
    logDriver: service.spec.task.logDriver ?? defaultLogDriver,
  });
}
