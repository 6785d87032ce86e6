import { type PeerTransport, Transport } from "@starling/raft-node";
import type { Message } from "raft-ts";
import { SimConnection, type Wire } from "./connections.ts";
import { type BreakableTransport, type RaftEndpoint, snapshotPartBytes } from "./transport.ts";

/** Production's transport, with its streams, queues and acknowledgements, over connections of the simulated network. */
export class StreamTransport implements BreakableTransport {
  readonly #inner: Transport;
  readonly #connections = new Map<string, SimConnection>();
  readonly #sent: (message: Message) => void;

  constructor(
    options: Omit<ConstructorParameters<typeof Transport>[0], "dial"> &
      Wire & {
        readonly find: (addr: string) => RaftEndpoint | undefined;
        /** Sees every message before it leaves. */
        readonly sent: (message: Message) => void;
      },
  ) {
    this.#sent = options.sent;
    this.#inner = new Transport({
      ...options,
      snapshotPartBytes,
      dial: (addr) => {
        const connection = new SimConnection(options, options.find(addr));
        this.#connections.set(addr, connection);
        return connection;
      },
    });
  }

  send(message: Message): void {
    this.#sent(message);
    this.#inner.send(message);
  }

  setPeer: PeerTransport["setPeer"] = (raftId, addr) => this.#inner.setPeer(raftId, addr);
  removePeer: PeerTransport["removePeer"] = (raftId) => this.#inner.removePeer(raftId);
  retain: PeerTransport["retain"] = (keep) => this.#inner.retain(keep);
  nudge: PeerTransport["nudge"] = (raftId) => this.#inner.nudge(raftId);
  activeSince: PeerTransport["activeSince"] = (raftId) => this.#inner.activeSince(raftId);
  stop: PeerTransport["stop"] = (drainMs) => this.#inner.stop(drainMs);

  get streams(): readonly string[] {
    return [...this.#connections].filter(([, { isOpen }]) => isOpen).map(([addr]) => addr);
  }

  reset(stream: string): boolean {
    return this.#connections.get(stream)?.reset() ?? false;
  }
}
