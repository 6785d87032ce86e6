import { Control, type Node, NodeSpec, UpdateNodeRequest } from "@starling/api";
import { changeOnce } from "../client/certain.ts";
import { sameMessage } from "../client/same-message.ts";
import type { Context } from "../context.ts";
import { resolveNodeOrSelf } from "./self.ts";

/**
 * Reads the node, changes its spec, writes it back; anew when another write came between, or when the leader left before
 * it answered, as it does when it is demoted itself. `change` must lead to the same spec when it is made twice.
 */
export async function changeNode(
  context: Context,
  reference: string,
  change: (spec: NodeSpec) => NodeSpec,
): Promise<Node> {
  const { client } = context;
  return await changeOnce(context, {
    read: () => resolveNodeOrSelf(client, reference),
    write: async ({ id, meta, spec }) => {
      const request = UpdateNodeRequest.create({ nodeId: id, nodeVersion: meta.version, spec: change(spec) });
      return (await client.call(Control.methods.updateNode, request)).node!;
    },
    isDone: ({ spec }) => sameMessage(NodeSpec, change(spec), spec),
  });
}
