/** Pure: no clock, no I/O, no randomness. */

/** The filters that every List request has. An empty one lets everything pass. */
export interface CommonFilters {
  readonly names: readonly string[];
  readonly namePrefixes: readonly string[];
  readonly idPrefixes: readonly string[];
  /** Wanted labels; an empty value asks for the key alone. */
  readonly labels: Readonly<Record<string, string>>;
}

/** What filters look at. */
export interface Filterable {
  readonly id: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Every given filter must hold; within one, any of its values. */
export function passesEach(filters: CommonFilters | undefined, object: Filterable): boolean {
  return (
    filters === undefined ||
    (isAmong(object.name, filters.names) &&
      hasPrefixAmong(object.name, filters.namePrefixes) &&
      hasPrefixAmong(object.id, filters.idPrefixes) &&
      hasLabels(object.labels, filters.labels))
  );
}

/** Labels must hold, and any one of names, name prefixes and id prefixes: how secrets, configs and resources filter. */
export function passesAny(filters: CommonFilters | undefined, object: Filterable): boolean {
  if (filters === undefined) return true;
  if (!hasLabels(object.labels, filters.labels)) return false;
  const { names, namePrefixes, idPrefixes } = filters;
  if (names.length + namePrefixes.length + idPrefixes.length === 0) return true;
  return (
    names.includes(object.name) ||
    namePrefixes.some((prefix) => object.name.startsWith(prefix)) ||
    idPrefixes.some((prefix) => object.id.startsWith(prefix))
  );
}

export function isAmong<T>(value: T, wanted: readonly T[]): boolean {
  return wanted.length === 0 || wanted.includes(value);
}

export function hasPrefixAmong(value: string, prefixes: readonly string[]): boolean {
  return prefixes.length === 0 || prefixes.some((prefix) => value.startsWith(prefix));
}

export function hasLabels(labels: Readonly<Record<string, string>>, wanted: Readonly<Record<string, string>>): boolean {
  return Object.entries(wanted).every(
    ([key, value]) => Object.hasOwn(labels, key) && (value === "" || labels[key] === value),
  );
}
