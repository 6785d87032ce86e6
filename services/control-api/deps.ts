import type { CAConfig, Cluster, RaftMember, RootCA } from "@starling/api";
import type { Clock, Logger } from "@starling/base";
import type { MemoryStore } from "@starling/store";
import type { ResolvedImage } from "./resolved-image.ts";

/** What the control API must know of the Raft group. Implemented by the manager around its Raft node. */
export interface RaftView {
  /** The present members with their leader flag and reachability, as this manager sees them. */
  members(): readonly RaftMember[];
  /** Whether the group keeps its quorum without this member. */
  canRemoveMember(raftId: bigint): boolean;
}

/** Asks registries what an image's reference names. Implemented by the manager. */
export interface ImageResolver {
  /** `registryAuth` is Docker's X-Registry-Auth, or empty. Rejects, within seconds, when it cannot be told. */
  resolve(
    image: string,
    options: { readonly registryAuth: string; readonly signal: AbortSignal },
  ): Promise<ResolvedImage>;
}

/** What the control API must know of the cluster's CA. Implemented by the ca station. */
export interface RootCaView {
  /** The cluster's root CA as the config asks for it. Throws InvalidArgument for what cannot be had. */
  next(cluster: Cluster, wanted: CAConfig): Promise<RootCA>;
}

export interface ControlDeps {
  readonly store: MemoryStore;
  readonly clock: Clock;
  readonly log: Logger;
  /** Absent in tests without a Raft group: then no node has a manager status and none can be demoted. */
  readonly raft?: RaftView | undefined;
  /** Absent: images stay as they are given. */
  readonly images?: ImageResolver | undefined;
  /** Absent in tests without a CA: then the root CA stays as it is. */
  readonly rootCa?: RootCaView | undefined;
}
