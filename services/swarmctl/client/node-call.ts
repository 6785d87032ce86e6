import { type MethodTable, NodeAccess, NodeCallFrame, NodeCallStart } from "@starling/api";
import type { Context } from "../context.ts";

/**
 * Calls a method that a node itself answers; managers relay it. Leaving the loop cancels it. Throws the node's SwarmError,
 * Unavailable when it is not connected, or what `requests` throws.
 */
export async function* callNode<Req, Res>(
  { client, signal }: Pick<Context, "client" | "signal">,
  nodeId: string,
  method: MethodTable<Req, Res, boolean, boolean>,
  requests: AsyncIterable<Req> | Iterable<Req>,
): AsyncGenerator<Res> {
  const frames = framesOf(nodeId, method, requests);
  for await (const { message } of client.duplex(NodeAccess.methods.call, frames, { signal })) {
    if (message !== undefined) yield method.response.decode(message);
  }
}

async function* framesOf<Req>(
  nodeId: string,
  { path, request }: MethodTable<Req, unknown, boolean, boolean>,
  requests: AsyncIterable<Req> | Iterable<Req>,
): AsyncGenerator<NodeCallFrame> {
  yield NodeCallFrame.create({ start: NodeCallStart.create({ nodeId, method: path }) });
  for await (const each of requests) yield NodeCallFrame.create({ message: request.encode(each) });
}
