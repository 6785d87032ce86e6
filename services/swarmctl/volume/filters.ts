/** Pure: no clock, no I/O, no randomness. */
import { UsageError } from "../usage-error.ts";
import type { PlacedVolume } from "./gather.ts";

export interface VolumeFilters {
  /** True: only volumes that no container has mounted. */
  readonly dangling: boolean | undefined;
  /** Parts of names; one of them. */
  readonly names: readonly string[];
  /** `KEY` or `KEY=VALUE`. */
  readonly labels: readonly string[];
  readonly withoutLabels: readonly string[];
}

type FilterKey = "dangling" | "name" | "label" | "label!";

/** `--filter` of volume commands, as docker's. Throws UsageError. */
export function parseVolumeFilters(texts: readonly string[] = [], allowed: readonly FilterKey[]): VolumeFilters {
  const values: Record<FilterKey, string[]> = { dangling: [], name: [], label: [], "label!": [] };
  for (const text of texts) {
    const [, key = "", value = ""] = /^([a-z]+!?)=(.*)$/s.exec(text) ?? [];
    if (!allowed.includes(key as FilterKey)) {
      throw new UsageError(`--filter "${text}" is not KEY=VALUE with one of ${allowed.join(", ")}`);
    }
    values[key as FilterKey].push(value);
  }
  return {
    dangling: values.dangling.map(yesOrNo).at(-1),
    names: values.name,
    labels: values.label,
    withoutLabels: values["label!"],
  };
}

/** Whether `volume ls` shows it. */
export function passes({ volume }: PlacedVolume, { dangling, names, labels, withoutLabels }: VolumeFilters): boolean {
  const hasLabel = (label: string) => {
    const [key = "", value] = label.split(/=(.*)/s);
    return Object.hasOwn(volume.labels, key) && (value === undefined || volume.labels[key] === value);
  };
  return (
    (dangling === undefined || dangling === (volume.usedBy.length === 0)) &&
    (names.length === 0 || names.some((name) => volume.name.includes(name))) &&
    labels.every(hasLabel) &&
    !withoutLabels.some(hasLabel)
  );
}

function yesOrNo(text: string): boolean {
  if (text === "true" || text === "1") return true;
  if (text === "false" || text === "0") return false;
  throw new UsageError(`--filter dangling: "${text}" is not true or false`);
}
