/** Pure: no clock, no I/O, no randomness. */
import type { Resource } from "@starling/api";
import { annotationIndexes, type TableSchema } from "./index-key.ts";

export const resources: TableSchema<Resource> = {
  nameOf: (resource) => resource.annotations.name,
  indexes: [
    ...annotationIndexes<Resource>((resource) => resource.annotations),
    { name: "kind", keysOf: (resource) => resource.kind },
  ],
};
