/** Pure: no clock, no I/O, no randomness. */
import type { Cluster } from "@starling/api";
import { annotationIndexes, type TableSchema } from "./index-key.ts";

export const clusters: TableSchema<Cluster> = {
  nameOf: (cluster) => cluster.spec.annotations.name,
  indexes: annotationIndexes<Cluster>((cluster) => cluster.spec.annotations),
};
