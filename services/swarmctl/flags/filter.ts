/** Pure: no clock, no I/O, no randomness. */

import type { FlagDefinition } from "../command.ts";
import { UsageError } from "../usage-error.ts";

export interface FilterFlags {
  readonly filter?: readonly string[];
}

export interface Filters {
  readonly ids: readonly string[];
  readonly names: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  /** The last value of each other key. */
  readonly other: Readonly<Record<string, string>>;
}

export function filterFlag(keys: string): FlagDefinition {
  return { flags: "-f, --filter <key=value>", help: `Show only what matches: ${keys}`, list: true };
}

/** `id=…`, `name=…` (prefixes), `label=KEY[=VALUE]`, and the `allowed` other keys. Throws UsageError on an unknown one. */
export function parseFilters(texts: readonly string[] | undefined, allowed: readonly string[] = []): Filters {
  const ids: string[] = [];
  const names: string[] = [];
  const labels: Record<string, string> = {};
  const other: Record<string, string> = {};
  for (const text of texts ?? []) {
    const at = text.indexOf("=");
    const key = at < 0 ? text : text.slice(0, at);
    const value = at < 0 ? "" : text.slice(at + 1);
    if (at < 0) throw new UsageError(`--filter "${text}" is not key=value`);
    if (key === "id") ids.push(value);
    else if (key === "name") names.push(value);
    else if (key === "label") {
      const [label = "", wanted = ""] = value.split(/=(.*)/s);
      labels[label] = wanted;
    } else if (allowed.includes(key)) other[key] = value;
    else throw new UsageError(`--filter "${key}" is not one of ${["id", "name", "label", ...allowed].join(", ")}`);
  }
  return { ids, names, labels, other };
}
