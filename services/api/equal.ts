/** Pure: no clock, no I/O, no randomness. */

/**
 * Whether two messages (or lists, maps, bytes, scalars) hold the same values. An unset field equals an absent one, so
 * messages from a decoder and from an object literal compare alike.
 */
export function sameValue(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (a instanceof Uint8Array || b instanceof Uint8Array) {
    return a instanceof Uint8Array && b instanceof Uint8Array && sameBytes(a, b);
  }
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((item, i) => sameValue(item, b[i]));
  }
  const left = a as Readonly<Record<string, unknown>>;
  const right = b as Readonly<Record<string, unknown>>;
  for (const key of Object.keys(left)) if (!sameValue(left[key], right[key])) return false;
  for (const key of Object.keys(right)) if (right[key] !== undefined && left[key] === undefined) return false;
  return true;
}

/** As `sameValue`, of messages that have all fields of `message`, for those but `others`: no garbage for what is asked at each change. */
export function sameBut<T extends object>(message: T, ...others: readonly (keyof T)[]): (a: T, b: T) => boolean {
  const fields = (Object.keys(message) as (keyof T)[]).filter((field) => !others.includes(field));
  return (a, b) => {
    for (const field of fields) if (!sameValue(a[field], b[field])) return false;
    return true;
  };
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
