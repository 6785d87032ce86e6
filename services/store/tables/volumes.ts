/** Pure: no clock, no I/O, no randomness. */
import type { Volume } from "@starling/api";
import { annotationIndexes, type TableSchema } from "./index-key.ts";

export const volumes: TableSchema<Volume> = {
  nameOf: (volume) => volume.spec.annotations.name,
  indexes: [
    ...annotationIndexes<Volume>((volume) => volume.spec.annotations),
    { name: "group", keysOf: (volume) => volume.spec.group || undefined },
    { name: "driver", keysOf: (volume) => volume.spec.driver?.name },
  ],
};
