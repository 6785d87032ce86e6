import { type Node, NodeVolumes, RemoveNodeVolumeRequest } from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import { callNode } from "../client/node-call.ts";
import type { Command } from "../command.ts";
import { chosenNodes, type NodeFlags, nodeFlag, nodeName, tellFailures, valuesOf } from "../image/on-nodes.ts";
import { only } from "../image/rm.ts";
import { forEach } from "../removing.ts";
import { listVolumes } from "./gather.ts";

export const remove: Command<NodeFlags> = {
  arguments: "<volume...>",
  flags: [nodeFlag],
  notes:
    "A volume that a task uses is never removed. One that several nodes have needs --node: each has its own content.",
  async run(context, names, flags) {
    const nodes = await chosenNodes(context, flags);
    await forEach(context, names, async (name) => {
      const outcomes = await listVolumes(context, nodes, [name]);
      const holders = valuesOf(outcomes).flatMap(({ node, value }) => (value.length > 0 ? [node] : []));
      if (holders.length === 0) {
        tellFailures(context, outcomes, flags);
        throw new SwarmError("NotFound", `no such volume: ${name}: see swarmctl volume ls`);
      }
      if (holders.length > 1 && !flags.node?.length) throw new SwarmError("InvalidArgument", ambiguous(name, holders));
      const request = RemoveNodeVolumeRequest.create({ name });
      for (const { id } of holders) await only(callNode(context, id, NodeVolumes.methods.remove, [request]));
    });
  },
};

function ambiguous(name: string, holders: readonly Node[]): string {
  return `volume ${name} is on the nodes ${holders.map(nodeName).join(", ")}, each with its own content: name them by --node`;
}
