/** Pure: no clock, no I/O, no randomness. */
import { type RawNode, raftOf } from "./raw-node.ts";

/** Fix the random election timeout of `node` until it next changes role or term. For tests. */
export function setRandomizedElectionTimeout(node: RawNode, ticks: number): void {
  raftOf(node).randomizedElectionTimeout = ticks;
}

export type { Raft } from "./raft.ts";
export { raftOf };
