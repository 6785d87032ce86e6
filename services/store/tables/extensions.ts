/** Pure: no clock, no I/O, no randomness. */
import type { Extension } from "@starling/api";
import { annotationIndexes, type TableSchema } from "./index-key.ts";

export const extensions: TableSchema<Extension> = {
  nameOf: (extension) => extension.annotations.name,
  indexes: annotationIndexes<Extension>((extension) => extension.annotations),
};
