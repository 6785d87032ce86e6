import { ListNodeImagesRequest, type Node, type NodeImage, NodeImages } from "@starling/api";
import { callNode } from "../client/node-call.ts";
import type { Context } from "../context.ts";
import { nodeName, type Outcome, onNodes, valuesOf } from "./on-nodes.ts";

/** An image and the nodes that hold it. */
export interface ClusterImage {
  readonly image: NodeImage;
  readonly references: readonly string[];
  readonly nodes: readonly string[];
  readonly usedBy: readonly string[];
}

/** Asks nodes for their images. `words` name some of them; none: all. */
export function listImages(
  context: Pick<Context, "client" | "signal">,
  nodes: readonly Node[],
  options: { readonly words?: readonly string[]; readonly withConfig?: boolean } = {},
): Promise<readonly Outcome<readonly NodeImage[]>[]> {
  const { words: images = [], withConfig = false } = options;
  const request = ListNodeImagesRequest.create({ images, withConfig });
  return onNodes(nodes, async ({ id }) => {
    const found: NodeImage[] = [];
    for await (const image of callNode(context, id, NodeImages.methods.list, [request])) found.push(image);
    return found;
  });
}

/** The same image on several nodes as one. */
export function merge(outcomes: readonly Outcome<readonly NodeImage[]>[]): readonly ClusterImage[] {
  const byDigest = new Map<string, ClusterImage>();
  for (const { node, value } of valuesOf(outcomes)) {
    for (const image of value) {
      const known = byDigest.get(image.digest);
      byDigest.set(image.digest, {
        image,
        references: [...new Set([...(known?.references ?? []), ...image.references])],
        nodes: [...(known?.nodes ?? []), nodeName(node)],
        usedBy: [...(known?.usedBy ?? []), ...image.usedBy],
      });
    }
  }
  return [...byDigest.values()];
}
