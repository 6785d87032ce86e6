/** Pure: no clock, no I/O, no randomness. */

import {
  durationMs,
  EndpointSpec_ResolutionMode_names,
  Mount_Type_names,
  placementStrategyLabel,
  prefersLocal,
  publishOn,
  type Resources,
  RestartPolicy_RestartCondition_names,
  rebalanceLabels,
  runtimeOptionPrefix,
  type Service,
  type UpdateConfig,
  UpdateConfig_FailureAction_names,
  UpdateConfig_UpdateOrder_names,
  UpdateStatus_UpdateState_names,
  updateDeadlineLabel,
} from "@starling/api";
import { type Field, formatFields } from "../format/table.ts";
import { formatDuration, formatTimestamp } from "../format/time.ts";
import { formatGeneric, formatPort, modeOf, portsOf } from "../format/words.ts";

/** A service for people: what it runs, where, and how it is updated. */
export function describeService(service: Service): string {
  const { spec } = service;
  const { container, placement, restart } = spec.task;
  const filled = (list: readonly string[] | undefined) => (list?.length ? list.join(" ") : undefined);
  const pairs = (map: Readonly<Record<string, string>>) =>
    filled(Object.entries(map).map(([key, value]) => `${key}=${value}`));
  return formatFields([
    ["ID", service.id],
    ["Name", spec.annotations.name],
    ["Labels", pairs(spec.annotations.labels)],
    ["Service Mode", modeOf(service)],
    ["Replicas", spec.replicated?.replicas, 1],
    ["Completions", spec.replicatedJob?.totalCompletions, 1],
    ["At once", spec.replicatedJob?.maxConcurrent, 1],
    ["Created", formatTimestamp(service.meta.createdAt)],
    ["Updated", formatTimestamp(service.meta.updatedAt)],
    ...updateStatus(service),
    ["ContainerSpec", ""],
    ["Image", container?.image, 1],
    ["Command", filled(container?.command), 1],
    ["Args", filled(container?.args), 1],
    ["Env", filled(container?.env), 1],
    ["Hostname", container?.hostname || undefined, 1],
    ["User", container?.user || undefined, 1],
    ...(container?.mounts ?? []).map(
      ({ type, source, target }): Field => ["Mount", `${Mount_Type_names[type]} ${source} -> ${target}`, 1],
    ),
    ["Capabilities added", filled(container?.capabilityAdd), 1],
    ["Capabilities dropped", filled(container?.capabilityDrop), 1],
    ["Sysctls", container && pairs(container.sysctls), 1],
    ["Ulimits", filled(container?.ulimits.map(({ name, soft, hard }) => `${name}=${soft}:${hard}`)), 1],
    ["Read-only root", container?.readOnly ? "true" : undefined, 1],
    ["Init", container?.init && String(container.init.value), 1],
    ["Options", container && pairs(optionsOf(container.labels)), 1],
    [
      "Log driver",
      spec.task.logDriver && [spec.task.logDriver.name, pairs(spec.task.logDriver.options)].filter(Boolean).join(" "),
      1,
    ],
    ["Secrets", filled(container?.secrets.map(({ secretName }) => secretName)), 1],
    ["Configs", filled(container?.configs.map(({ configName }) => configName)), 1],
    ["Limits", resources(spec.task.resources?.limits)],
    ["Reservations", resources(spec.task.resources?.reservations)],
    ["Constraints", filled(placement?.constraints)],
    ["Placement strategy", spec.annotations.labels[placementStrategyLabel]],
    ["Rebalance", spec.annotations.labels[rebalanceLabels.rebalance]],
    [
      "Restart",
      restart &&
        [
          RestartPolicy_RestartCondition_names[restart.condition]?.toLowerCase().replace("_", "-"),
          restart.delay && `delay ${formatDuration(durationMs(restart.delay))}`,
          restart.maxAttempts > 0 && `at most ${restart.maxAttempts} times`,
        ]
          .filter(Boolean)
          .join(", "),
    ],
    ...updateConfig("Update", spec.update),
    ["Update deadline", spec.annotations.labels[updateDeadlineLabel]],
    ...updateConfig("Rollback", spec.rollback),
    ["Prefers local tasks", prefersLocal(spec.annotations.labels) ? "true" : undefined],
    ["Published on", filled(publishOn(spec.annotations.labels))],
    ["Endpoint Mode", EndpointSpec_ResolutionMode_names[spec.endpoint?.mode ?? 0]?.toLowerCase()],
    ["Ports", filled(portsOf(service).map(formatPort))],
    ["Virtual IPs", filled(service.endpoint?.virtualIps.map(({ addr }) => addr))],
  ]);
}

/** Options beyond Swarm's spec, as their flags are named. */
function optionsOf(labels: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const own = Object.entries(labels).filter(([name]) => name.startsWith(runtimeOptionPrefix));
  return Object.fromEntries(own.map(([name, value]) => [name.slice(runtimeOptionPrefix.length), value]));
}

function updateStatus({ updateStatus: status }: Service): Field[] {
  if (!status) return [];
  return [
    ["UpdateStatus", ""],
    ["State", UpdateStatus_UpdateState_names[status.state]?.toLowerCase(), 1],
    ["Message", status.message, 1],
  ];
}

function updateConfig(title: string, config: UpdateConfig | undefined): Field[] {
  if (!config) return [];
  return [
    [`${title}Config`, ""],
    ["Parallelism", config.parallelism, 1],
    ["Delay", formatDuration(durationMs(config.delay)), 1],
    ["On failure", UpdateConfig_FailureAction_names[config.failureAction]?.toLowerCase(), 1],
    ["Max failures", config.maxFailureRatio, 1],
    ["Order", UpdateConfig_UpdateOrder_names[config.order]?.toLowerCase().replace("_", "-"), 1],
  ];
}

function resources(amounts: Resources | undefined): string | undefined {
  if (!amounts) return undefined;
  const cpus = amounts.nanoCpus ? `${amounts.nanoCpus / 1e9} CPUs` : "";
  const memory = amounts.memoryBytes ? `${amounts.memoryBytes / 2 ** 20} MiB` : "";
  return [cpus, memory, formatGeneric(amounts.generic)].filter(Boolean).join(", ") || undefined;
}
