import { Metadata } from "@grpc/grpc-js";
import { SwarmError } from "@starling/base";
import type { MethodTable, ServiceTable } from "../message.ts";
import { ownMetadataPrefix } from "../request-metadata.ts";
import type { RpcClient } from "./client.ts";
import { addForwarded } from "./identity.ts";
import { linkSignals } from "./linked-signal.ts";
import { Outgoing } from "./outgoing.ts";
import type { CallContext, Handlers } from "./types.ts";

/** The leader's remote API. */
export interface LeaderChannel {
  readonly client: RpcClient;
  /** Aborts when that manager is no longer the leader, as far as is known here: what was sent to it is given up. */
  readonly signal: AbortSignal;
}

/** Where a call is to be served now. */
export interface LeaderRoute {
  /** True when this manager leads and its leader's loops are up. */
  isLeader(): boolean;
  /** Aborts when this manager stops leading; only asked for while it leads. */
  leadingSignal(): AbortSignal;
  /**
   * Waits a while until there is a leader: "self", or a channel to another. With `relayed` only "self" will do, since a
   * relayed call is not relayed again. Rejects Unavailable or ResourceExhausted.
   */
  resolve(options: { readonly relayed: boolean; readonly signal: AbortSignal }): Promise<"self" | LeaderChannel>;
  /** Own remote API address: names who relayed. */
  readonly ownAddress: string;
}

type AnyHandler = (input: unknown, context: CallContext) => unknown;

/**
 * Handlers that serve calls here while this manager leads and relay them to the leader otherwise, with the caller's
 * identity in the metadata (Swarm's RaftProxy servers).
 */
export function forwardToLeader<S extends ServiceTable>(table: S, local: Handlers<S>, route: LeaderRoute): Handlers<S> {
  const out: Record<string, unknown> = {};
  for (const [key, method] of Object.entries(table.methods)) {
    const handler = local[key as keyof S["methods"]] as unknown as AnyHandler;
    out[key] = method.responseStream
      ? (input: unknown, context: CallContext) =>
          route.isLeader()
            ? whileLeading(handler, input, context, route)
            : oncePlaced(handler, method, input, context, route)
      : async (input: unknown, context: CallContext) => {
          const target = await targetOf(route, context);
          if (target === "self") return await handler(input, context);
          return await relayCall(target, method, input, context, route);
        };
  }
  return out as Handlers<S>;
}

/** A stream served here ends with the leadership, so that its caller looks for the new leader. */
function whileLeading(
  handler: AnyHandler,
  input: unknown,
  context: CallContext,
  route: LeaderRoute,
): AsyncIterable<unknown> {
  const leading = route.leadingSignal();
  const { signal, release } = linkSignals(context.signal, leading);
  const stream = handler(input, { ...context, signal }) as AsyncIterable<unknown>;
  if (!(stream instanceof Outgoing)) return untilTheEnd(stream, leading, release);
  stream.whenClosed(release);
  return stream;
}

async function* untilTheEnd(
  stream: AsyncIterable<unknown>,
  leading: AbortSignal,
  release: () => void,
): AsyncGenerator<unknown> {
  try {
    yield* stream;
  } finally {
    release();
  }
  if (leading.aborted) throw SwarmError.from(leading.reason);
}

/** A stream that begins while it is not known here where it has to go, or elsewhere. */
async function* oncePlaced(
  handler: AnyHandler,
  method: AnyMethod,
  input: unknown,
  context: CallContext,
  route: LeaderRoute,
): AsyncGenerator<unknown> {
  const target = await targetOf(route, context);
  if (target === "self") yield* whileLeading(handler, input, context, route);
  else yield* relayStream(target, method, input, context, route);
}

function targetOf(route: LeaderRoute, context: CallContext): Promise<"self" | LeaderChannel> | "self" {
  if (route.isLeader()) return "self";
  return route.resolve({ relayed: context.metadata.get("redirect").length > 0, signal: context.signal });
}

type AnyMethod = MethodTable<unknown, unknown, boolean, boolean>;

async function* relayStream(
  target: LeaderChannel,
  method: AnyMethod,
  input: unknown,
  context: CallContext,
  route: LeaderRoute,
): AsyncGenerator<unknown> {
  const { signal, release } = linkSignals(context.signal, target.signal);
  const options = { signal, metadata: relayMetadata(context, route) };
  try {
    yield* method.requestStream
      ? target.client.duplex(
          method as MethodTable<unknown, unknown, true, true>,
          input as AsyncIterable<unknown>,
          options,
        )
      : target.client.stream(method as MethodTable<unknown, unknown, false, true>, input, options);
  } finally {
    release();
  }
}

async function relayCall(
  target: LeaderChannel,
  method: AnyMethod,
  input: unknown,
  context: CallContext,
  route: LeaderRoute,
): Promise<unknown> {
  const { signal, release } = linkSignals(context.signal, target.signal);
  const options = { signal, metadata: relayMetadata(context, route) };
  try {
    return method.requestStream
      ? await target.client.upload(
          method as MethodTable<unknown, unknown, true, false>,
          input as AsyncIterable<unknown>,
          options,
        )
      : await target.client.call(method as MethodTable<unknown, unknown, false, false>, input, options);
  } finally {
    release();
  }
}

function relayMetadata({ caller, remoteAddress, metadata: given }: CallContext, route: LeaderRoute): Metadata {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(given.getMap())) {
    if (key.startsWith(ownMetadataPrefix)) metadata.set(key, value);
  }
  addForwarded(metadata, caller, remoteAddress, route.ownAddress);
  return metadata;
}
