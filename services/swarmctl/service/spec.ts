/** Pure: no clock, no I/O, no randomness. */

import {
  Annotations,
  balanceLabel,
  ConfigReference,
  type ContainerSpec,
  Driver,
  durationMs,
  EndpointSpec,
  Int64Value,
  type NetworkAttachmentConfig,
  Placement,
  PlacementPreference,
  preferLocalLabel,
  publishOnLabel,
  ReplicatedService,
  ResourceRequirements,
  Resources,
  RestartPolicy,
  RestartPolicy_RestartCondition,
  runtimeOptionPrefix,
  SecretReference,
  type ServiceSpec,
  SpreadOver,
  type TaskSpec,
  UpdateConfig,
  updateDeadlineLabel,
} from "@starling/api";
import { withPlacement } from "../flags/placement.ts";
import { parseDuration, parsePairs } from "../flags/values.ts";
import { UsageError } from "../usage-error.ts";
import { withContainerFlags } from "./container-spec.ts";
import { withCredentialSpec } from "./credential-spec.ts";
import type { ServiceFlags } from "./flags.ts";
import type { Lookup } from "./lookup.ts";

const networkLabel = `${runtimeOptionPrefix}network`;

/** `base` with all that the flags set. What no flag names stays as it is. */
export function withServiceFlags(base: ServiceSpec, flags: ServiceFlags, lookup: Lookup): ServiceSpec {
  return {
    ...base,
    annotations: Annotations.create({
      ...base.annotations,
      name: flags.name ?? base.annotations.name,
      labels: withOwnLabels(flags.label ? parsePairs(flags.label) : base.annotations.labels, flags),
    }),
    ...withMode(base, flags),
    task: withTaskFlags(base.task, flags, lookup),
    update: withUpdateFlags(base.update, flags, "update"),
    rollback: withUpdateFlags(base.rollback, flags, "rollback"),
    endpoint: withEndpointFlags(base.endpoint, flags),
  };
}

/** With the labels that flags of ours stand for. */
function withOwnLabels(
  labels: Readonly<Record<string, string>>,
  flags: ServiceFlags,
): Readonly<Record<string, string>> {
  const { preferLocal, publishOn, balance } = flags;
  const publishedOn = publishOn?.filter((address) => address !== "").join(" ");
  const own: readonly (readonly [label: string, value: string | false | undefined, isGiven: boolean])[] = [
    [preferLocalLabel, preferLocal && "true", preferLocal !== undefined],
    [balanceLabel, balance !== "random" && balance, balance !== undefined],
    [publishOnLabel, publishedOn, publishOn !== undefined],
  ];
  return own.reduce(
    (changed, [label, value, isGiven]) => withLabel(changed, label, value, isGiven),
    withPlacement(withUpdateDeadline(labels, flags), flags),
  );
}

/** With the label set to `value`, or without it, when it `isGiven`. */
function withLabel(
  labels: Readonly<Record<string, string>>,
  label: string,
  value: string | false | undefined,
  isGiven: boolean,
): Readonly<Record<string, string>> {
  if (!isGiven) return labels;
  const { [label]: _, ...others } = labels;
  return value ? { ...others, [label]: value } : others;
}

function withUpdateDeadline(
  labels: Readonly<Record<string, string>>,
  { updateDeadline }: ServiceFlags,
): Readonly<Record<string, string>> {
  if (updateDeadline === undefined) return labels;
  const { [updateDeadlineLabel]: _, ...others } = labels;
  return durationMs(parseDuration(updateDeadline)) === 0
    ? others
    : { ...others, [updateDeadlineLabel]: updateDeadline };
}

function withMode(base: ServiceSpec, flags: ServiceFlags): Partial<ServiceSpec> {
  const { replicas, maxConcurrent } = flags;
  if (replicas === undefined && maxConcurrent === undefined) return {};
  if (base.replicatedJob) {
    const { replicatedJob } = base;
    const concurrent = maxConcurrent ?? (replicas !== undefined ? replicas : replicatedJob.maxConcurrent);
    return {
      replicatedJob: {
        ...replicatedJob,
        totalCompletions: replicas ?? replicatedJob.totalCompletions,
        maxConcurrent: concurrent,
      },
    };
  }
  if (maxConcurrent !== undefined) throw new UsageError("--max-concurrent is for replicated jobs only");
  if (!base.replicated)
    throw new UsageError("--replicas is for replicated services only: a global one runs on every node");
  return { replicated: ReplicatedService.create({ ...base.replicated, replicas: replicas! }) };
}

function withTaskFlags(base: TaskSpec, flags: ServiceFlags, lookup: Lookup): TaskSpec {
  const { container } = base;
  return {
    ...base,
    container:
      container &&
      withCredentialSpec(
        {
          ...withNetworkMode(withContainerFlags(container, flags), networkModeOf(flags)),
          ...(flags.secret && {
            secrets: flags.secret.map(({ source, file }) => {
              const { id, name } = lookup.secrets.get(source)!;
              return SecretReference.create({ secretId: id, secretName: name, file });
            }),
          }),
          ...(flags.config && {
            configs: flags.config.map(({ source, file }) => {
              const { id, name } = lookup.configs.get(source)!;
              return ConfigReference.create({ configId: id, configName: name, file });
            }),
          }),
        },
        flags.credentialSpec,
        lookup.configs,
      ),
    resources: withResourceFlags(base.resources, flags),
    restart: withRestartFlags(base.restart, flags),
    placement: withPlacementFlags(base.placement, flags),
    logDriver: withLogFlags(base.logDriver, flags),
    networks: flags.network ? withNetworkIds(flags.network.filter(isOfCluster), lookup) : base.networks,
  };
}

/** `none` is no network of the cluster but a way to be without one. */
export function isOfCluster({ target }: { readonly target: string }): boolean {
  return target !== "none";
}

/** The container's label that says so. `host` is a network of each node, which the cluster has an object for. */
function networkModeOf(flags: ServiceFlags): string | undefined {
  if (flags.network === undefined) return undefined;
  const alone = flags.network.find(({ target }) => target === "host" || target === "none");
  if (alone && flags.network.length > 1) throw new UsageError(`--network ${alone.target} excludes other networks`);
  return alone?.target === "none" ? "none" : "";
}

export function withNetworkIds(
  attachments: readonly NetworkAttachmentConfig[],
  lookup: Lookup,
): readonly NetworkAttachmentConfig[] {
  return attachments.map((attachment) => ({ ...attachment, target: lookup.networks.get(attachment.target)! }));
}

function withNetworkMode(base: ContainerSpec, mode: string | undefined): ContainerSpec {
  if (mode === undefined) return base;
  const { [networkLabel]: _before, ...labels } = base.labels;
  return { ...base, labels: mode === "" ? labels : { ...labels, [networkLabel]: mode } };
}

function withResourceFlags(
  base: ResourceRequirements | undefined,
  flags: ServiceFlags,
): ResourceRequirements | undefined {
  const limits = withAmounts(base?.limits, {
    nanoCpus: flags.limitCpu ?? flags.cpuLimit,
    memoryBytes: flags.limitMemory ?? flags.memoryLimit,
  });
  const reservations = withAmounts(base?.reservations, {
    nanoCpus: flags.reserveCpu ?? flags.cpuReservation,
    memoryBytes: flags.reserveMemory ?? flags.memoryReservation,
    generic: flags.genericResource ?? flags.genericResources,
  });
  const swap = flags.memorySwap === undefined ? base?.swapBytes : Int64Value.create({ value: flags.memorySwap });
  const { memorySwappiness } = flags;
  const swappiness =
    memorySwappiness === undefined ? base?.memorySwappiness : Int64Value.create({ value: memorySwappiness });
  if (!limits && !reservations && !swap && !swappiness) return base;
  return ResourceRequirements.create({
    ...base,
    limits,
    reservations,
    swapBytes: swap,
    memorySwappiness: swappiness,
  });
}

function withAmounts(
  base: Resources | undefined,
  amounts: { readonly [K in keyof Resources]?: Resources[K] | undefined },
): Resources | undefined {
  const given = Object.fromEntries(Object.entries(amounts).filter(([, amount]) => amount !== undefined));
  return Object.keys(given).length === 0 ? base : Resources.create({ ...base, ...given });
}

function withRestartFlags(base: RestartPolicy | undefined, flags: ServiceFlags): RestartPolicy | undefined {
  const { restartCondition, restartDelay, restartMaxAttempts, restartWindow } = flags;
  if ([restartCondition, restartDelay, restartMaxAttempts, restartWindow].every((flag) => flag === undefined))
    return base;
  return RestartPolicy.create({
    ...base,
    condition: restartCondition ?? base?.condition ?? RestartPolicy_RestartCondition.ANY,
    delay: restartDelay ?? base?.delay,
    maxAttempts: restartMaxAttempts ?? base?.maxAttempts ?? 0,
    window: restartWindow ?? base?.window,
  });
}

function withPlacementFlags(base: Placement | undefined, flags: ServiceFlags): Placement | undefined {
  const { constraint, placementPref, replicasMaxPerNode } = flags;
  if (constraint === undefined && placementPref === undefined && replicasMaxPerNode === undefined) return base;
  return Placement.create({
    ...base,
    constraints: constraint ?? base?.constraints ?? [],
    preferences: placementPref?.map(parsePreference) ?? base?.preferences ?? [],
    maxReplicas: replicasMaxPerNode ?? base?.maxReplicas ?? 0,
  });
}

/** `spread=node.labels.zone`. */
export function parsePreference(text: string): PlacementPreference {
  const [strategy, spreadDescriptor = ""] = text.split("=");
  if (strategy !== "spread" || spreadDescriptor === "") {
    throw new UsageError(`"${text}" is not a placement preference: write spread=node.labels.KEY`);
  }
  return PlacementPreference.create({ spread: SpreadOver.create({ spreadDescriptor }) });
}

function withUpdateFlags(
  base: UpdateConfig | undefined,
  flags: ServiceFlags,
  what: "update" | "rollback",
): UpdateConfig | undefined {
  const given: { [K in keyof UpdateConfig]?: UpdateConfig[K] | undefined } = {
    parallelism: flags[`${what}Parallelism`],
    delay: flags[`${what}Delay`],
    monitor: flags[`${what}Monitor`],
    maxFailureRatio: flags[`${what}MaxFailureRatio`],
    failureAction: flags[`${what}FailureAction`] ?? flags[`${what}OnFailure`],
    order: flags[`${what}Order`],
  };
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  if (Object.keys(set).length === 0) return base;
  return UpdateConfig.create({ parallelism: 1, ...base, ...set });
}

function withEndpointFlags(base: EndpointSpec | undefined, flags: ServiceFlags): EndpointSpec | undefined {
  const { publish, ports, endpointMode } = flags;
  if (publish === undefined && ports === undefined && endpointMode === undefined) return base;
  const given = publish || ports ? [...(publish ?? []), ...(ports ?? [])] : undefined;
  return EndpointSpec.create({
    ...base,
    ...(endpointMode === undefined ? {} : { mode: endpointMode }),
    ports: given ?? base?.ports ?? [],
  });
}

function withLogFlags(base: Driver | undefined, flags: ServiceFlags): Driver | undefined {
  if (flags.logDriver === undefined && flags.logOpt === undefined) return base;
  return Driver.create({
    name: flags.logDriver ?? base?.name ?? "",
    options: flags.logOpt ? parsePairs(flags.logOpt) : (base?.options ?? {}),
  });
}
