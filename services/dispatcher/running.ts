import type { WeightedPeer } from "@starling/api";
import type { Clock, Logger, Random } from "@starling/base";
import type { MemoryStore } from "@starling/store";
import type { Batcher } from "./batcher.ts";
import type { NodeFeed } from "./node-feed.ts";
import type { Sessions } from "./sessions.ts";
import type { Write } from "./store-writer.ts";

/** Status reports, and changes of a node's tasks, that come within this time share a transaction, or a message. */
export const batchWindowMs = 5;

export interface DispatcherOptions {
  readonly store: MemoryStore;
  readonly clusterId: string;
  readonly ownNodeId: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly peers: PeerSource;
  /** Whether a node's host answers on the network, though its swarmd is silent. Never rejects. */
  readonly probeHost: (address: string) => Promise<boolean>;
}

/** The managers that agents may turn to. */
export interface PeerSource {
  current(): readonly WeightedPeer[];
  /** Calls `listener` after each change, until the returned function is called. */
  subscribe(listener: () => void): () => void;
}

/** Resolves with what runs now, once sessions may begin. Rejects Aborted while nothing does. */
export type RunningNow = () => Promise<Running>;

/** What lives from one start of `run` to its end. */
export interface Running {
  readonly options: DispatcherOptions;
  readonly sessions: Sessions;
  readonly feed: NodeFeed;
  readonly writes: Batcher<Write>;
  /** Resolves when the nodes of the former leader are adopted and sessions may begin. */
  readonly ready: Promise<void>;
}
