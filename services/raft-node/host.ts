import type { ChannelCredentials } from "@grpc/grpc-js";
import type { JoinResponse } from "@starling/api";
import type { Clock, Logger, Millis } from "@starling/base";
import { type Config, type Message, RawNode } from "raft-ts";
import { type Files, nodeFiles } from "./disk.ts";
import { checkHealth, joinCluster } from "./membership/join.ts";
import { machineTurn, type NextTurn } from "./next-turn.ts";
import { grpcDial } from "./transport/channel.ts";
import type { PeerEvents } from "./transport/peer.ts";
import { Transport } from "./transport/transport.ts";

/** Sends raft's messages to the other members. */
export interface PeerTransport {
  /** Connects to a member, or to its new address. The own id is ignored. */
  setPeer(raftId: bigint, addr: string): void;
  removePeer(raftId: bigint): void;
  /** Keeps only the peers of which `keep` is true. */
  retain(keep: (raftId: bigint) => boolean): void;
  /** Sends, or drops and reports. Never waits. */
  send(message: Message): void;
  /** A peer connected to this node: it can probably be reached, too. */
  nudge(raftId: bigint): void;
  /** Since when a peer answers; undefined when it does not. */
  activeSince(raftId: bigint): Millis | undefined;
  stop(drainMs: Millis): Promise<void>;
}

/** How a node reaches the others. */
export interface RaftNetwork {
  connect(options: {
    readonly ownId: bigint;
    readonly ownAddr: string;
    readonly clock: Clock;
    readonly log: Logger;
    readonly events: PeerEvents;
  }): PeerTransport;
  /** Asks the cluster, through any of its managers at `remote`, to take in the node at `addr`. */
  join(options: { readonly remote: string; readonly addr: string }): Promise<JoinResponse>;
  /** Rejects Unavailable unless the node at `addr` says that its raft is up. */
  checkHealth(addr: string): Promise<void>;
}

/** What a node stands on. The defaults are the machine it runs on; the simulator brings a world of its own. */
export interface RaftHost {
  readonly files: Files;
  readonly network: RaftNetwork;
  readonly nextTurn: NextTurn;
  readonly newRawNode: (config: Config) => RawNode;
}

/** This machine: its disk, gRPC over TLS, Node's event loop. */
export function machineHost(credentials: () => ChannelCredentials): RaftHost {
  return {
    files: nodeFiles,
    network: {
      connect: (options) => new Transport({ ...options, dial: grpcDial(credentials), nextTurn: machineTurn }),
      join: (options) => joinCluster({ ...options, credentials: credentials() }),
      checkHealth: (addr) => checkHealth(addr, credentials()),
    },
    nextTurn: machineTurn,
    newRawNode: (config) => new RawNode(config),
  };
}
