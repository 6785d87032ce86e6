import { ListNodeVolumesRequest, type Node, type NodeVolume, NodeVolumes } from "@starling/api";
import { callNode } from "../client/node-call.ts";
import type { Context } from "../context.ts";
import { nodeName, type Outcome, onNodes, valuesOf } from "../image/on-nodes.ts";

/** A volume and the node that has it: the same name on another node is another volume. */
export interface PlacedVolume {
  readonly volume: NodeVolume;
  readonly node: string;
}

/** Asks nodes for their volumes. `names` are those wanted; none: all. */
export function listVolumes(
  context: Pick<Context, "client" | "signal">,
  nodes: readonly Node[],
  names: readonly string[] = [],
): Promise<readonly Outcome<readonly NodeVolume[]>[]> {
  const request = ListNodeVolumesRequest.create({ names });
  return onNodes(nodes, async ({ id }) => {
    const found: NodeVolume[] = [];
    for await (const volume of callNode(context, id, NodeVolumes.methods.list, [request])) found.push(volume);
    return found;
  });
}

/** By name, then by node. */
export function placedVolumes(outcomes: readonly Outcome<readonly NodeVolume[]>[]): readonly PlacedVolume[] {
  const placed = valuesOf(outcomes).flatMap(({ node, value }) =>
    value.map((volume) => ({ volume, node: nodeName(node) })),
  );
  return placed.toSorted((a, b) => a.volume.name.localeCompare(b.volume.name) || a.node.localeCompare(b.node));
}
