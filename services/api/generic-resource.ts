/** Pure: no clock, no I/O, no randomness. */
import { SwarmError } from "@starling/base/errors";
import { DiscreteGenericResource, GenericResource, NamedGenericResource } from "./gen/messages.js";

/**
 * Generic resources: a node offers, per kind, either a count (discrete) or a set of names; a task reserves counts and
 * is assigned a count or that many names. Lists are values: every function gives a new one.
 */
type Resources = readonly GenericResource[];

export function discreteResource(kind: string, value: number): GenericResource {
  return GenericResource.create({ discreteResourceSpec: DiscreteGenericResource.create({ kind, value }) });
}

export function namedResource(kind: string, value: string): GenericResource {
  return GenericResource.create({ namedResourceSpec: NamedGenericResource.create({ kind, value }) });
}

export function genericKind(resource: GenericResource): string {
  return resource.discreteResourceSpec?.kind ?? resource.namedResourceSpec?.kind ?? "";
}

/** The count in digits, or the name. */
export function genericValue(resource: GenericResource): string {
  const { discreteResourceSpec: discrete, namedResourceSpec: named } = resource;
  return discrete ? String(discrete.value) : (named?.value ?? "");
}

/** Whether `available` covers one reservation; named reservations are never met. */
export function hasEnoughGeneric(available: Resources, reservation: GenericResource): boolean {
  const wanted = reservation.discreteResourceSpec;
  if (wanted === undefined) return false;
  const offered = available.filter((resource) => genericKind(resource) === wanted.kind);
  const first = offered[0];
  if (first === undefined) return false;
  return wanted.value <= (first.discreteResourceSpec ? first.discreteResourceSpec.value : offered.length);
}

/** What a task with these reservations is assigned, in order of the node's list. Kinds that fall short give nothing. */
export function selectGeneric(available: Resources, reservations: Resources): GenericResource[] {
  return reservations.flatMap((reservation) => {
    const wanted = reservation.discreteResourceSpec;
    if (wanted === undefined || wanted.value <= 0 || !hasEnoughGeneric(available, reservation)) return [];
    const offered = available.filter((resource) => genericKind(resource) === wanted.kind);
    return offered[0]?.discreteResourceSpec
      ? [discreteResource(wanted.kind, wanted.value)]
      : offered.slice(0, wanted.value);
  });
}

/** `available` without `taken`. A kind that changed between count and names since is left alone. */
export function consumeGeneric(available: Resources, taken: Resources): Resources {
  if (taken.length === 0) return available;
  return available.flatMap((resource) => {
    const kind = genericKind(resource);
    const same = taken.filter((item) => genericKind(item) === kind);
    if (resource.namedResourceSpec) {
      const { value } = resource.namedResourceSpec;
      return same.some((item) => item.namedResourceSpec?.value === value) ? [] : [resource];
    }
    const used = same.reduce((sum, item) => sum + (item.discreteResourceSpec?.value ?? 0), 0);
    const left = (resource.discreteResourceSpec?.value ?? 0) - used;
    return used === 0 ? [resource] : left > 0 ? [discreteResource(kind, left)] : [];
  });
}

/**
 * Parses `kind=value` terms: one number is a count, words are a set of names (`gpu=2`, `ssd=sda ssd=sdb`). Throws
 * InvalidArgument for a term without one "=" or without a value, a negative count, or a kind that mixes counts and names.
 */
export function parseGenericResources(terms: readonly string[]): GenericResource[] {
  const byKind = new Map<string, string[]>();
  for (const term of terms) {
    const [kind = "", value, ...rest] = term.split("=").map((part) => part.trim());
    if (kind === "" || !value || rest.length > 0) {
      throw refusal(`incorrect term ${term}, missing '=' or malformed expression`);
    }
    byKind.set(kind, [...(byKind.get(kind) ?? []), value]);
  }
  return [...byKind].flatMap(([kind, values]) => {
    const numbers = values.filter((value) => /^[+-]?\d+$/.test(value));
    if (numbers.length === 0) return values.map((value) => namedResource(kind, value));
    if (values.length > 1) throw refusal(`mixed discrete and named resources in expression '${kind}=${values}'`);
    const count = Number(numbers[0]);
    if (count < 0) throw refusal(`cannot ask for negative resource ${kind}`);
    if (!Number.isSafeInteger(count)) throw refusal(`${kind}=${numbers[0]} is beyond 2^53`);
    return [discreteResource(kind, count)];
  });
}

function refusal(problem: string): SwarmError {
  return new SwarmError(
    "InvalidArgument",
    `could not parse GenericResource: ${problem}; write kind=count or kind=name`,
  );
}

/** Environment of a task that was assigned these: `PREFIX_KIND=2` or `PREFIX_KIND=sda,sdb`. */
export function genericEnvironment(assigned: Resources, prefix: string): string[] {
  const byKind = new Map<string, string[]>();
  for (const resource of assigned) {
    const kind = genericKind(resource);
    byKind.set(kind, [...(byKind.get(kind) ?? []), genericValue(resource)]);
  }
  return [...byKind].map(([kind, values]) => {
    const name = `${prefix}_${kind}`.toUpperCase();
    return `${name}=${values.join(",")}`;
  });
}
