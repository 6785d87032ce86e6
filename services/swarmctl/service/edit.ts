/** Pure: no clock, no I/O, no randomness. */

import {
  ConfigReference,
  type ContainerSpec,
  ContainerSpec_DNSConfig,
  EndpointSpec,
  genericKind,
  Placement,
  type PortConfig,
  ResourceRequirements,
  Resources,
  SecretReference,
  type ServiceSpec,
  type TaskSpec,
} from "@starling/api";
import { parsePairs } from "../flags/values.ts";
import { capabilityName, parseHost } from "./container-spec.ts";
import type { EditFlags } from "./edit-flags.ts";
import type { Lookup } from "./lookup.ts";
import { parsePreference, withNetworkIds } from "./spec.ts";

/**
 * `base` with single values added and removed: Docker's `--x-add` and `--x-rm`, SwarmKit's `--add-x` and `--rm-x`.
 * Removals come first, and an added value replaces the one with the same key.
 */
export function withEdits(base: ServiceSpec, flags: EditFlags, lookup: Lookup): ServiceSpec {
  return {
    ...base,
    annotations: { ...base.annotations, labels: editPairs(base.annotations.labels, flags.labelRm, flags.labelAdd) },
    task: editTask(base.task, flags, lookup),
    endpoint: editEndpoint(base.endpoint, flags),
  };
}

function editTask(base: TaskSpec, flags: EditFlags, lookup: Lookup): TaskSpec {
  const removed = new Set(flags.networkRm?.map((name) => lookup.networks.get(name) ?? name));
  const added = withNetworkIds(flags.networkAdd ?? [], lookup);
  return {
    ...base,
    container: base.container && editContainer(base.container, flags, lookup),
    networks: edit(base.networks, ({ target }) => target, removed, added),
    placement: editPlacement(base.placement, flags),
    resources: editResources(base.resources, flags),
    forceUpdate: base.forceUpdate + (flags.force ? 1 : 0),
  };
}

function editContainer(base: ContainerSpec, flags: EditFlags, lookup: Lookup): ContainerSpec {
  const secretRm = [...(flags.secretRm ?? []), ...(flags.rmSecret ?? [])];
  const configRm = [...(flags.configRm ?? []), ...(flags.rmConfig ?? [])];
  const secrets = [...(flags.secretAdd ?? []), ...(flags.addSecret ?? [])].map(({ source, file }) => {
    const { id, name } = lookup.secrets.get(source)!;
    return SecretReference.create({ secretId: id, secretName: name, file });
  });
  const configs = [...(flags.configAdd ?? []), ...(flags.addConfig ?? [])].map(({ source, file }) => {
    const { id, name } = lookup.configs.get(source)!;
    return ConfigReference.create({ configId: id, configName: name, file });
  });
  const capabilities = [...(flags.addCapability ?? [])].map(capabilityName);
  const dropped = [...(flags.rmCapability ?? [])].map(capabilityName);
  return {
    ...base,
    labels: editPairs(base.labels, flags.containerLabelRm, flags.containerLabelAdd),
    env: edit(base.env, (variable) => variable.split("=", 1)[0]!, flags.envRm, flags.envAdd),
    groups: edit(base.groups, (group) => group, flags.groupRm, flags.groupAdd),
    mounts: edit(base.mounts, ({ target }) => target, flags.mountRm, flags.mountAdd),
    secrets: edit(base.secrets, ({ secretName }) => secretName, secretRm, secrets),
    configs: edit(base.configs, ({ configName }) => configName, configRm, configs),
    hosts: edit(base.hosts, (host) => host, flags.hostRm?.map(parseHost), flags.hostAdd?.map(parseHost)),
    dnsConfig: editDns(base.dnsConfig, flags),
    capabilityAdd: edit(base.capabilityAdd, (name) => name, dropped, capabilities),
    sysctls: editPairs(base.sysctls, flags.sysctlRm, flags.sysctlAdd),
    ulimits: edit(base.ulimits, ({ name }) => name, flags.ulimitRm, flags.ulimitAdd),
  };
}

function editDns(base: ContainerSpec_DNSConfig | undefined, flags: EditFlags): ContainerSpec_DNSConfig | undefined {
  const same = (text: string) => text;
  const next = ContainerSpec_DNSConfig.create({
    nameservers: edit(base?.nameservers ?? [], same, flags.dnsRm, flags.dnsAdd),
    search: edit(base?.search ?? [], same, flags.dnsSearchRm, flags.dnsSearchAdd),
    options: edit(base?.options ?? [], same, flags.dnsOptionRm, flags.dnsOptionAdd),
  });
  return base === undefined && next.nameservers.length + next.search.length + next.options.length === 0
    ? undefined
    : next;
}

function editPlacement(base: Placement | undefined, flags: EditFlags): Placement | undefined {
  const { constraintAdd, constraintRm, placementPrefAdd, placementPrefRm } = flags;
  if (!constraintAdd && !constraintRm && !placementPrefAdd && !placementPrefRm) return base;
  const descriptor = (spread: { readonly spread?: { readonly spreadDescriptor: string } | undefined }) =>
    spread.spread?.spreadDescriptor ?? "";
  return Placement.create({
    ...base,
    constraints: edit(base?.constraints ?? [], (text) => text, constraintRm, constraintAdd),
    preferences: edit(
      base?.preferences ?? [],
      descriptor,
      placementPrefRm?.map((text) => descriptor(parsePreference(text))),
      placementPrefAdd?.map(parsePreference),
    ),
  });
}

function editResources(base: ResourceRequirements | undefined, flags: EditFlags): ResourceRequirements | undefined {
  const { genericResourceAdd, genericResourceRm } = flags;
  if (!genericResourceAdd && !genericResourceRm) return base;
  const generic = edit(base?.reservations?.generic ?? [], genericKind, genericResourceRm, genericResourceAdd);
  return ResourceRequirements.create({ ...base, reservations: Resources.create({ ...base?.reservations, generic }) });
}

/** A port is told by its target port and protocol. */
function editEndpoint(base: EndpointSpec | undefined, { publishAdd, publishRm }: EditFlags): EndpointSpec | undefined {
  if (!publishAdd && !publishRm) return base;
  const key = ({ targetPort, protocol }: PortConfig) => `${targetPort}/${protocol}`;
  return EndpointSpec.create({ ...base, ports: edit(base?.ports ?? [], key, publishRm?.map(key), publishAdd) });
}

function editPairs(
  base: Readonly<Record<string, string>>,
  removed: readonly string[] | undefined,
  added: readonly string[] | undefined,
): Readonly<Record<string, string>> {
  const gone = new Set(removed);
  return { ...Object.fromEntries(Object.entries(base).filter(([key]) => !gone.has(key))), ...parsePairs(added ?? []) };
}

/** The list without items whose key is removed or added anew, then the added ones. */
function edit<T>(
  base: readonly T[],
  keyOf: (item: T) => string,
  removed: Iterable<string> | undefined,
  added: readonly T[] | undefined,
): readonly T[] {
  const gone = new Set([...(removed ?? []), ...(added ?? []).map(keyOf)]);
  return gone.size === 0 ? base : [...base.filter((item) => !gone.has(keyOf(item))), ...(added ?? [])];
}
