import type { MemoryStore } from "@starling/store";

/** Whose view of the store a mutant changes. */
export type Station = "orchestrator" | "allocator" | "scheduler" | "dispatcher";

/** One rule switched off, to show that a check would see it: a loop's store lies to it, or writes something else. */
export interface Mutant {
  /** The rule that does not hold. */
  readonly name: string;
  readonly station: Station;
  readonly store: (store: MemoryStore) => MemoryStore;
}

export const mutants: readonly Mutant[] = [];
