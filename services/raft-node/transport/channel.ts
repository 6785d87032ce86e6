import type { ChannelCredentials } from "@grpc/grpc-js";
import { Raft, type RaftBatch, type RaftBatchAck, RaftPeer, type StreamRaftMessageRequest } from "@starling/api";
import { RpcClient, withoutPings } from "@starling/api/rpc";
import type { Millis } from "@starling/base";

/** A connection to a peer. What fails, fails with a SwarmError. */
export interface PeerChannel {
  /** Resolves when connected; rejects Unavailable after `timeoutMs`. */
  waitReady(timeoutMs: Millis): Promise<void>;
  /** A stream: sends the batches in order, gives the peer's acknowledgements. Ends when `signal` aborts. */
  messages(batches: AsyncIterable<RaftBatch>, signal: AbortSignal): AsyncIterable<RaftBatchAck>;
  /** Sends a snapshot, beside the stream; resolves when the peer has taken it. */
  snapshot(parts: AsyncIterable<StreamRaftMessageRequest>, signal: AbortSignal): Promise<unknown>;
  close(): void;
}

/** Makes a connection to the peer at `addr`, `host:port`. */
export type Dial = (addr: string) => PeerChannel;

/** By gRPC, with the node's credentials of the moment. */
export function grpcDial(credentials: () => ChannelCredentials): Dial {
  return (addr) => {
    // The stream's acknowledgements tell whether the peer is there.
    const client = new RpcClient(addr, credentials(), withoutPings);
    return {
      waitReady: (timeoutMs) => client.waitReady(timeoutMs),
      messages: (batches, signal) => client.duplex(RaftPeer.methods.messages, batches, { signal }),
      snapshot: (parts, signal) => client.upload(Raft.methods.streamRaftMessage, parts, { signal }),
      close: () => client.close(),
    };
  };
}
