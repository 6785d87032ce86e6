import type { Metadata } from "@grpc/grpc-js";
import type { MethodTable, ServiceTable } from "../message.ts";

/** Who calls. Without a certificate all fields are empty; on the local socket it is the manager itself. */
export interface Caller {
  /** CN of the certificate. */
  readonly nodeId: string;
  /** OUs of the certificate: `swarm-manager`, `swarm-worker`. */
  readonly roles: readonly string[];
  /** O of the certificate: the cluster's id. */
  readonly organization: string;
  /** The call came through a manager that relayed it to the leader; the identity is then the original caller's. */
  readonly forwarded: boolean;
}

export const anonymous: Caller = { nodeId: "", roles: [], organization: "", forwarded: false };

export interface CallContext {
  readonly caller: Caller;
  /** Aborts when the caller cancels, its deadline passes or its connection breaks. */
  readonly signal: AbortSignal;
  /** Address of the original caller, `host:port`, or "" for a local socket. */
  readonly remoteAddress: string;
  readonly metadata: Metadata;
}

/** What implements one method, by its streams. */
export type Handler<M> =
  M extends MethodTable<infer Req, infer Res, infer ReqStream, infer ResStream>
    ? ReqStream extends true
      ? ResStream extends true
        ? (requests: AsyncIterable<Req>, context: CallContext) => AsyncIterable<Res>
        : (requests: AsyncIterable<Req>, context: CallContext) => Promise<Res>
      : ResStream extends true
        ? (request: Req, context: CallContext) => AsyncIterable<Res>
        : (request: Req, context: CallContext) => Promise<Res>
    : never;

/** What implements a service: a handler per method. */
export type Handlers<S extends ServiceTable> = { readonly [K in keyof S["methods"]]: Handler<S["methods"][K]> };

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Deadline from now; without one a call waits as long as its connection lives. */
  readonly timeoutMs?: number;
  readonly metadata?: Metadata;
}
