/** Pure: no clock, no I/O, no randomness. */

import {
  BoolValue,
  type ContainerSpec,
  ContainerSpec_DNSConfig,
  drainTimeLabel,
  HealthConfig,
  publishNotReadyLabel,
  runtimeOptionPrefix,
} from "@starling/api";
import { parsePairs } from "../flags/values.ts";
import { UsageError } from "../usage-error.ts";
import type { ServiceFlags } from "./flags.ts";
import { withRuntimeFlags } from "./runtime-flags.ts";

/** The container spec with all that the flags set, save secrets and configs, which have to be looked up. */
export function withContainerFlags(base: ContainerSpec, flags: ServiceFlags): ContainerSpec {
  const mounts = [flags.mount, flags.bind, flags.volume, flags.npipe, flags.tmpfs].filter((list) => list !== undefined);
  const own = Object.entries(base.labels).filter(([name]) => name.startsWith(runtimeOptionPrefix));
  return withRuntimeFlags(
    {
      ...base,
      image: flags.image ?? base.image,
      // Options that have flags of their own are no labels that the user gave.
      labels: withOwnLabels(
        flags.containerLabel ? { ...Object.fromEntries(own), ...parsePairs(flags.containerLabel) } : base.labels,
        flags,
      ),
      command: flags.entrypoint ?? flags.command ?? base.command,
      args: flags.args ?? base.args,
      env: flags.env ?? base.env,
      hostname: flags.hostname ?? base.hostname,
      dir: flags.workdir ?? base.dir,
      user: flags.user ?? base.user,
      groups: flags.group ?? base.groups,
      tty: flags.tty ?? base.tty,
      openStdin: flags.openStdin ?? base.openStdin,
      readOnly: flags.readOnly ?? base.readOnly,
      init: flags.init === undefined ? base.init : BoolValue.create({ value: flags.init }),
      stopSignal: flags.stopSignal ?? base.stopSignal,
      stopGracePeriod: flags.stopGracePeriod ?? base.stopGracePeriod,
      isolation: flags.isolation ?? base.isolation,
      oomScoreAdj: flags.oomScoreAdj ?? base.oomScoreAdj,
      pidsLimit: flags.limitPids ?? base.pidsLimit,
      mounts: mounts.length > 0 ? mounts.flat() : base.mounts,
      hosts: flags.host?.map(parseHost) ?? base.hosts,
      dnsConfig: withDnsFlags(base.dnsConfig, flags),
      capabilityAdd: flags.capAdd?.map(capabilityName) ?? base.capabilityAdd,
      capabilityDrop: flags.capDrop?.map(capabilityName) ?? base.capabilityDrop,
      sysctls: flags.sysctl ? parsePairs(flags.sysctl) : base.sysctls,
      ulimits: flags.ulimit ?? base.ulimits,
      healthcheck: withHealthFlags(base.healthcheck, flags),
    },
    flags,
  );
}

function withOwnLabels(
  labels: ContainerSpec["labels"],
  { drainTime, publishNotReady }: Pick<ServiceFlags, "drainTime" | "publishNotReady">,
): ContainerSpec["labels"] {
  return {
    ...labels,
    ...(drainTime === undefined ? {} : { [drainTimeLabel]: drainTime }),
    ...(publishNotReady === undefined ? {} : { [publishNotReadyLabel]: String(publishNotReady) }),
  };
}

/** `name:address` → `address name`, as the spec keeps entries of /etc/hosts. */
export function parseHost(text: string): string {
  const at = text.indexOf(":");
  if (at <= 0 || at === text.length - 1) {
    throw new UsageError(`"${text}" is not a host entry: write NAME:ADDRESS`);
  }
  return `${text.slice(at + 1)} ${text.slice(0, at)}`;
}

/** `net_admin` → `CAP_NET_ADMIN`; `all` → `ALL`. */
export function capabilityName(text: string): string {
  const name = text.toUpperCase();
  return name === "ALL" || name.startsWith("CAP_") ? name : `CAP_${name}`;
}

function withDnsFlags(
  base: ContainerSpec_DNSConfig | undefined,
  { dns, dnsSearch, dnsOption }: ServiceFlags,
): ContainerSpec_DNSConfig | undefined {
  if (!dns && !dnsSearch && !dnsOption) return base;
  return ContainerSpec_DNSConfig.create({
    nameservers: dns ?? base?.nameservers ?? [],
    search: dnsSearch ?? base?.search ?? [],
    options: dnsOption ?? base?.options ?? [],
  });
}

function withHealthFlags(base: HealthConfig | undefined, flags: ServiceFlags): HealthConfig | undefined {
  const given = {
    test: flags.healthCmd === undefined ? undefined : ["CMD-SHELL", flags.healthCmd],
    interval: flags.healthInterval,
    timeout: flags.healthTimeout,
    retries: flags.healthRetries,
    startPeriod: flags.healthStartPeriod,
    startInterval: flags.healthStartInterval,
  };
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  if (flags.healthcheck === false) {
    if (Object.keys(set).length > 0) throw new UsageError("--no-healthcheck excludes the --health-… flags");
    return HealthConfig.create({ test: ["NONE"] });
  }
  return Object.keys(set).length === 0 ? base : HealthConfig.create({ ...base, ...set });
}
