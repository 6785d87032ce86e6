/** Pure: no clock, no I/O, no randomness. */

import { UsageError } from "../usage-error.ts";
import { formatTable } from "./table.ts";

/** How a list's objects are shown. */
export interface ListView<T> {
  readonly heading: readonly string[];
  row(object: T): readonly string[];
  json(object: T): unknown;
  id(object: T): string;
}

/** A list as ids, JSON or a table, as its flags ask. Throws UsageError on an unknown format. */
export function formatList<T>(
  objects: readonly T[],
  view: ListView<T>,
  flags: { readonly quiet?: boolean; readonly format?: string },
): string {
  if (wantsJson(flags)) return `${JSON.stringify(objects.map(view.json), undefined, 2)}\n`;
  if (flags.quiet) return objects.map((object) => `${view.id(object)}\n`).join("");
  return formatTable(view.heading, objects.map(view.row));
}

export function wantsJson({ format = "table" }: { readonly format?: string }): boolean {
  if (format !== "json" && format !== "table") throw new UsageError(`--format "${format}" is not one of table, json`);
  return format === "json";
}
