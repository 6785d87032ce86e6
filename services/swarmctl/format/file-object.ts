/** Pure: no clock, no I/O, no randomness. */

import type { Annotations, Meta } from "@starling/api";
import type { ListView } from "./list.ts";
import { formatFields } from "./table.ts";
import { formatAge, formatTimestamp } from "./time.ts";
import { shortId } from "./words.ts";

/** What secrets and configs have in common; their data is not for lists. */
interface FileObject {
  readonly id: string;
  readonly meta: Meta;
  readonly spec: { readonly annotations: Annotations };
}

export function fileObjectView({
  nowMs,
  whole,
}: {
  readonly nowMs: number;
  readonly whole: boolean;
}): ListView<FileObject> {
  return {
    heading: ["ID", "NAME", "CREATED", "UPDATED"],
    id: ({ id }) => id,
    row: ({ id, meta, spec }) => [
      shortId(id, whole),
      spec.annotations.name,
      formatAge(meta.createdAt, nowMs),
      formatAge(meta.updatedAt, nowMs),
    ],
    json: ({ id, meta, spec }) => ({
      id,
      name: spec.annotations.name,
      labels: spec.annotations.labels,
      createdAt: formatTimestamp(meta.createdAt),
      updatedAt: formatTimestamp(meta.updatedAt),
    }),
  };
}

export function describeFileObject({ id, meta, spec }: FileObject): string {
  return formatFields([
    ["ID", id],
    ["Name", spec.annotations.name],
    ...Object.entries(spec.annotations.labels).map(([key, value]) => ["Label", `${key}=${value}`] as const),
    ["Created", formatTimestamp(meta.createdAt)],
    ["Updated", formatTimestamp(meta.updatedAt)],
  ]);
}
