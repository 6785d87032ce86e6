/** Pure: no clock, no I/O, no randomness. */
import type { Config } from "@starling/api";
import { annotationIndexes, type TableSchema } from "./index-key.ts";

export const configs: TableSchema<Config> = {
  nameOf: (config) => config.spec.annotations.name,
  indexes: annotationIndexes<Config>((config) => config.spec.annotations),
};
