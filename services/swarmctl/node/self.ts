import { hostname } from "node:os";
import type { Node } from "@starling/api";
import type { GrpcClient } from "../client/grpc-client.ts";
import { resolveNode } from "../client/resolve.ts";

/** The node that `reference` names; `self` is the one with this host's name. */
export function resolveNodeOrSelf(client: GrpcClient, reference: string): Promise<Node> {
  return resolveNode(client, reference === "self" ? hostname() : reference);
}
