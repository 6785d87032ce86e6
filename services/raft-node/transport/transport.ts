import type { Millis } from "@starling/base";
import type { Message } from "raft-ts";
import type { PeerTransport } from "../host.ts";
import { Peer, type PeerOptions } from "./peer.ts";

export type TransportOptions = Omit<PeerOptions, "raftId" | "addr">;

/** The streams to all peers. */
export class Transport implements PeerTransport {
  readonly #options: TransportOptions;
  readonly #peers = new Map<bigint, Peer>();
  /** Streams of removed members, which end when what is queued is written. */
  readonly #leaving = new Set<Promise<void>>();

  constructor(options: TransportOptions) {
    this.#options = options;
  }

  /** Connects to a member, or to its new address. The own id is ignored. */
  setPeer(raftId: bigint, addr: string): void {
    if (raftId === this.#options.ownId) return;
    const peer = this.#peers.get(raftId);
    if (peer) peer.setAddress(addr);
    else this.#peers.set(raftId, new Peer({ ...this.#options, raftId, addr }));
  }

  /** Lets a removed member's queue drain for `drainMs`: it holds the news of its removal. */
  removePeer(raftId: bigint, drainMs: Millis = 1_000): void {
    const peer = this.#peers.get(raftId);
    if (!peer) return;
    this.#peers.delete(raftId);
    const leaving = peer.stop(drainMs).finally(() => this.#leaving.delete(leaving));
    this.#leaving.add(leaving);
  }

  /** Keeps only the peers of which `keep` is true. */
  retain(keep: (raftId: bigint) => boolean): void {
    for (const raftId of [...this.#peers.keys()]) if (!keep(raftId)) this.removePeer(raftId);
  }

  /** Drops messages to unknown peers, as a network would. */
  send(message: Message): void {
    const peer = this.#peers.get(message.to);
    if (peer) peer.send(message);
    else this.#options.events.unreachable(message.to);
  }

  /** A peer connected to this node: it can probably be reached, too. */
  nudge(raftId: bigint): void {
    this.#peers.get(raftId)?.nudge();
  }

  /** Since when a peer answers; undefined when it does not. */
  activeSince(raftId: bigint): Millis | undefined {
    return this.#peers.get(raftId)?.activeSince;
  }

  async stop(drainMs: Millis): Promise<void> {
    const stopping = [...this.#peers.values()].map((peer) => peer.stop(drainMs));
    this.#peers.clear();
    await Promise.all([...stopping, ...this.#leaving]);
  }
}
