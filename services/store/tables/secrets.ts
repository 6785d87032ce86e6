/** Pure: no clock, no I/O, no randomness. */
import type { Secret } from "@starling/api";
import { annotationIndexes, type TableSchema } from "./index-key.ts";

export const secrets: TableSchema<Secret> = {
  nameOf: (secret) => secret.spec.annotations.name,
  indexes: annotationIndexes<Secret>((secret) => secret.spec.annotations),
};
