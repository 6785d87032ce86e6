import { Metadata } from "@grpc/grpc-js";
import { SwarmError } from "@starling/base";
import type { MethodTable, ServiceTable } from "../message.ts";
import type { RpcClient } from "./client.ts";
import { addForwarded } from "./identity.ts";
import type { CallContext, Handlers } from "./types.ts";

/** Where a call is to be served now. `wait` resolves when there is a leader again, or rejects Unavailable. */
export interface LeaderRoute {
  /** True when this manager leads and its leader's loops are up. */
  isLeader(): boolean;
  /** A channel to the leader's remote API; rejects Unavailable when there is none. */
  leader(signal: AbortSignal): Promise<RpcClient>;
  /** Own remote API address: names who relayed. */
  readonly ownAddress: string;
}

/**
 * Handlers that serve calls here while this manager leads and relay them to the leader otherwise, with the caller's
 * identity in the metadata. A relayed call is not relayed again (Swarm: ResourceExhausted).
 */
export function forwardToLeader<S extends ServiceTable>(
  table: S,
  local: () => Handlers<S> | undefined,
  route: LeaderRoute,
): Handlers<S> {
  const out: Record<string, unknown> = {};
  for (const [key, method] of Object.entries(table.methods)) {
    const here = () => {
      const handlers = route.isLeader() ? local() : undefined;
      return handlers?.[key as keyof S["methods"]] as unknown as
        | ((input: unknown, context: CallContext) => never)
        | undefined;
    };
    if (method.responseStream) {
      out[key] = async function* (input: unknown, context: CallContext) {
        const handler = here();
        if (handler) return yield* handler(input, context) as AsyncIterable<unknown>;
        const client = await relay(route, context);
        const options = { signal: context.signal, metadata: forwardMetadata(context, route) };
        if (method.requestStream) {
          yield* client.duplex(
            method as MethodTable<unknown, unknown, true, true>,
            input as AsyncIterable<unknown>,
            options,
          );
        } else yield* client.stream(method as MethodTable<unknown, unknown, false, true>, input, options);
      };
      continue;
    }
    out[key] = async (input: unknown, context: CallContext) => {
      const handler = here();
      if (handler) return await (handler(input, context) as Promise<unknown>);
      const client = await relay(route, context);
      const options = { signal: context.signal, metadata: forwardMetadata(context, route) };
      if (method.requestStream) {
        return await client.upload(
          method as MethodTable<unknown, unknown, true, false>,
          input as AsyncIterable<unknown>,
          options,
        );
      }
      return await client.call(method as MethodTable<unknown, unknown, false, false>, input, options);
    };
  }
  return out as Handlers<S>;
}

async function relay(route: LeaderRoute, context: CallContext): Promise<RpcClient> {
  if (context.metadata.get("redirect").length > 0) {
    throw new SwarmError("ResourceExhausted", "a relayed call reached a manager that is not the leader: try again");
  }
  return await route.leader(context.signal);
}

function forwardMetadata(context: CallContext, route: LeaderRoute): Metadata {
  const metadata = new Metadata();
  addForwarded(metadata, context.caller, context.remoteAddress, route.ownAddress);
  return metadata;
}
