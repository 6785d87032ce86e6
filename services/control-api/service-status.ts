/** Pure: no clock, no I/O, no randomness. */

import { ListServiceStatusesResponse_ServiceStatus, type Service, type Task, TaskState } from "@starling/api";

/**
 * How many tasks a service wants, runs and (jobs) has completed in the present iteration. A service that is gone wants
 * none; its last tasks still count as running.
 */
export function serviceStatus(
  serviceId: string,
  service: Service | undefined,
  tasks: readonly Task[],
): ListServiceStatusesResponse_ServiceStatus {
  const iteration = service?.jobStatus?.jobIteration.index;
  const counted = tasks.filter((task) => iteration === undefined || task.jobIteration?.index === iteration);
  const fixed = service?.spec.replicated?.replicas ?? service?.spec.replicatedJob?.maxConcurrent;
  return ListServiceStatusesResponse_ServiceStatus.create({
    serviceId,
    desiredTasks: service === undefined ? 0 : (fixed ?? counted.filter(isDesiredGlobally).length),
    runningTasks: counted.filter((task) => task.status.state === TaskState.RUNNING).length,
    completedTasks:
      iteration === undefined ? 0 : counted.filter((task) => task.status.state === TaskState.COMPLETE).length,
  });
}

/** Global services have no number of their own: the tasks that shall run (or, jobs, still have to complete) are it. */
function isDesiredGlobally({ desiredState, status }: Task): boolean {
  return (
    desiredState === TaskState.RUNNING || (desiredState === TaskState.COMPLETE && status.state !== TaskState.COMPLETE)
  );
}
