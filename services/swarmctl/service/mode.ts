/** Pure: no clock, no I/O, no randomness. */

import {
  ContainerSpec,
  GlobalJob,
  GlobalService,
  ReplicatedJob,
  ReplicatedService,
  ServiceSpec,
  TaskSpec,
} from "@starling/api";
import { UsageError } from "../usage-error.ts";

const modes: Readonly<Record<string, () => Partial<ServiceSpec>>> = {
  replicated: () => ({ replicated: ReplicatedService.create({ replicas: 1 }) }),
  global: () => ({ global: GlobalService.create() }),
  "replicated-job": () => ({ replicatedJob: ReplicatedJob.create({ maxConcurrent: 1, totalCompletions: 1 }) }),
  "global-job": () => ({ globalJob: GlobalJob.create() }),
};

/** The spec that `service create` starts from. Throws UsageError on an unknown mode. */
export function newServiceSpec(mode = "replicated"): ServiceSpec {
  const make = Object.hasOwn(modes, mode) ? modes[mode] : undefined;
  if (!make) throw new UsageError(`--mode "${mode}" is not one of ${Object.keys(modes).join(", ")}`);
  return ServiceSpec.create({ ...make(), task: TaskSpec.create({ container: ContainerSpec.create() }) });
}
