/** Pure: no clock, no I/O, no randomness. */
import type { Node } from "@starling/api";
import { customIndex, type TableSchema } from "./index-key.ts";

export const nodes: TableSchema<Node> = {
  nameOf: (node) => node.description?.hostname ?? node.id,
  indexes: [
    { name: "name", keysOf: (node) => node.description?.hostname.toLowerCase() },
    customIndex((node) => node.spec.annotations),
    { name: "role", keysOf: (node) => String(node.role) },
    { name: "membership", keysOf: (node) => String(node.spec.membership) },
  ],
};
