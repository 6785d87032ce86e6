/** Pure: no clock, no I/O, no randomness. */
import type { Network } from "@starling/api";
import { annotationIndexes, type TableSchema } from "./index-key.ts";

export const networks: TableSchema<Network> = {
  nameOf: (network) => network.spec.annotations.name,
  indexes: annotationIndexes<Network>((network) => network.spec.annotations),
};
