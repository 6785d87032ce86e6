/** Pure: no clock, no I/O, no randomness. */
import type { Progress } from "./tracker/progress.ts";
import type { TrackerConfig } from "./tracker/tracker.ts";
import type { HardState, SoftState } from "./types.ts";

/** Cheap to take. */
export interface BasicStatus {
  readonly id: bigint;
  readonly hardState: HardState;
  readonly softState: SoftState;
  readonly applied: number;
  /** 0n unless a leader transfer is under way. */
  readonly leadTransferee: bigint;
}

export interface Status extends BasicStatus {
  readonly config: TrackerConfig;
  /** Copies; empty unless this node leads. */
  readonly progress: ReadonlyMap<bigint, Progress>;
}
