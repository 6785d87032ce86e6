import { type Timestamp, timestampMs, timestampOfMs } from "@starling/api";
import { inFlag, parseDuration } from "../flags/values.ts";
import { UsageError } from "../usage-error.ts";
import type { ClusterImage } from "./gather.ts";

export interface ImageFilters {
  readonly dangling: boolean | undefined;
  /** Only images built before. */
  readonly until: Timestamp | undefined;
  /** `KEY` or `KEY=VALUE`. */
  readonly labels: readonly string[];
  readonly withoutLabels: readonly string[];
  /** Patterns of names, `*` for anything but a slash. */
  readonly references: readonly string[];
}

type FilterKey = "dangling" | "until" | "label" | "label!" | "reference";

/** `--filter` of image commands, as docker's. Throws UsageError. */
export function parseImageFilters(
  texts: readonly string[] | undefined,
  options: { readonly allowed: readonly FilterKey[]; readonly nowMs: number },
): ImageFilters {
  const values: Record<FilterKey, string[]> = { dangling: [], until: [], label: [], "label!": [], reference: [] };
  for (const text of texts ?? []) {
    const [, key = "", value = ""] = /^([a-z]+!?)=(.*)$/s.exec(text) ?? [];
    if (!options.allowed.includes(key as FilterKey)) {
      throw new UsageError(`--filter "${text}" is not KEY=VALUE with one of ${options.allowed.join(", ")}`);
    }
    values[key as FilterKey].push(value);
  }
  return {
    dangling: values.dangling.map(yesOrNo).at(-1),
    until: values.until.map((text) => timeBefore(text, options.nowMs)).at(-1),
    labels: values.label,
    withoutLabels: values["label!"],
    references: values.reference,
  };
}

/** Whether `image ls` shows it. */
export function passes({ image, references }: ClusterImage, filters: ImageFilters): boolean {
  const { dangling, until, labels, withoutLabels } = filters;
  const hasLabel = (label: string) => {
    const [key = "", value] = label.split(/=(.*)/s);
    return Object.hasOwn(image.labels, key) && (value === undefined || image.labels[key] === value);
  };
  return (
    (dangling === undefined || dangling === (references.length === 0)) &&
    (until === undefined || (image.created !== undefined && timestampMs(image.created) < timestampMs(until))) &&
    labels.every(hasLabel) &&
    !withoutLabels.some(hasLabel)
  );
}

/** `nginx`, `nginx:1.*`, `*\/app`: a pattern of a whole name, with or without its tag. */
export function nameMatches(
  pattern: string,
  { repository, tag }: { readonly repository: string; readonly tag: string },
): boolean {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", "[^/]*")
    .replaceAll("?", "[^/]");
  const expression = new RegExp(`^${source}$`);
  return expression.test(repository) || expression.test(`${repository}:${tag}`);
}

function yesOrNo(text: string): boolean {
  if (text === "true" || text === "1") return true;
  if (text === "false" || text === "0") return false;
  throw new UsageError(`--filter dangling: "${text}" is not true or false`);
}

/** A time (2026-01-02T15:04:05Z), or a duration back from now (24h). */
function timeBefore(text: string, nowMs: number): Timestamp {
  const stamp = /^\d{4}-/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(stamp)) return timestampOfMs(stamp);
  const { seconds, nanos } = inFlag("--filter until", () => parseDuration(text));
  return timestampOfMs(nowMs - seconds * 1000 - nanos / 1e6);
}
