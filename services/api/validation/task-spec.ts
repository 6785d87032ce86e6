/** Pure: no clock, no I/O, no randomness. */

import { SwarmError } from "@starling/base/errors";
import { parseConstraints } from "../constraint.ts";
import { durationMs } from "../duration.ts";
import type {
  GenericRuntimeSpec,
  Placement,
  ResourceRequirements,
  Resources,
  RestartPolicy,
  TaskSpec,
} from "../gen/messages.js";
import { validateContainerSpec } from "./container.ts";
import { refuse } from "./refuse.ts";

const nanoCpusMin = 1e6;
const memoryBytesMin = 4 * 1024 * 1024;

export function validateTaskSpec(task: TaskSpec): void {
  if (task.resources?.limits) validateResources(task.resources.limits, "limit");
  if (task.resources?.reservations) validateResources(task.resources.reservations, "reservation");
  if (task.resources) validateSwap(task.resources);
  if (task.restart) validateRestartPolicy(task.restart);
  if (task.placement) validatePlacement(task.placement);
  if (task.container) validateContainerSpec(task.container);
  else if (task.generic) validateGenericRuntime(task.generic);
  else if (task.attachment) {
    throw new SwarmError("Unimplemented", "RuntimeSpec: unimplemented runtime in service spec");
  } else refuse("TaskSpec: missing runtime: give a container spec");
}

function validateResources(resources: Resources, kind: "limit" | "reservation"): void {
  const { nanoCpus, memoryBytes } = resources;
  if (nanoCpus !== 0 && nanoCpus < nanoCpusMin) {
    refuse(`invalid cpu value ${nanoCpus / 1e9} (${kind}): Must be at least ${nanoCpusMin / 1e9}`);
  }
  if (memoryBytes !== 0 && memoryBytes < memoryBytesMin) {
    refuse(`invalid memory value ${memoryBytes} (${kind}): Must be at least 4MiB`);
  }
  for (const { discreteResourceSpec, namedResourceSpec } of resources.generic) {
    if (namedResourceSpec) {
      refuse(`generic resource '${namedResourceSpec.kind}': a service asks for a count, not for a named one`);
    }
    if (discreteResourceSpec && discreteResourceSpec.value < 0) {
      refuse(`generic resource '${discreteResourceSpec.kind}': ${discreteResourceSpec.value} cannot be negative`);
    }
  }
}

function validateSwap({ limits, swapBytes, memorySwappiness }: ResourceRequirements): void {
  const swappiness = memorySwappiness?.value ?? 0;
  if (swappiness < 0 || swappiness > 100) {
    refuse(`invalid memory swappiness ${swappiness}: must be between 0 and 100`);
  }
  const swap = swapBytes?.value ?? 0;
  if (swap < -1) refuse(`invalid swap limit ${swap}: must be -1 (no limit) or more`);
  if (swap !== 0 && !limits?.memoryBytes) refuse("a swap limit needs a memory limit");
}

function validateRestartPolicy(policy: RestartPolicy): void {
  if (durationMs(policy.delay) < 0) refuse("TaskSpec: restart-delay cannot be negative");
  if (durationMs(policy.window) < 0) refuse("TaskSpec: restart-window cannot be negative");
}

function validatePlacement(placement: Placement): void {
  parseConstraints(placement.constraints);
  for (const { spread } of placement.preferences) {
    if (!spread || spread.spreadDescriptor === "") {
      refuse("Placement: a spread preference must name what to spread over, for example node.labels.zone");
    }
  }
}

const reservedRuntimes = ["container", "attachment"];

function validateGenericRuntime({ kind, payload }: GenericRuntimeSpec): void {
  if (kind.length < 3) refuse(`Generic runtime: Invalid name "${kind}": use at least 3 characters`);
  if (reservedRuntimes.includes(kind.toLowerCase())) refuse(`Generic runtime: "${kind}" is a reserved name`);
  if (!payload) refuse("Generic runtime is missing payload");
  if (payload.typeUrl === "") refuse("Generic runtime is missing payload type");
  if (payload.value.length === 0) refuse("Generic runtime has an empty payload");
}
