import { NodeImages, type RemovedNodeImages, RemoveNodeImageRequest } from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import { callNode } from "../client/node-call.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { forEachQuietly } from "../removing.ts";
import { chosenNodes, failuresOf, type NodeFlags, nodeFlag, onNodes, together, valuesOf } from "./on-nodes.ts";

export const remove: Command<NodeFlags & { readonly force?: boolean }> = {
  arguments: "<image...>",
  flags: [
    {
      flags: "-f, --force",
      help: "Also an image with several names by its ID, or one that ended tasks were made from",
    },
    nodeFlag,
  ],
  notes: "Without --node: on every node that holds it. An image that a task uses is never removed.",
  async run(context, words, flags) {
    const nodes = await chosenNodes(context, flags);
    await forEachQuietly(words, async (image) => {
      const request = RemoveNodeImageRequest.create({ image, force: flags.force ?? false });
      const outcomes = await onNodes(nodes, ({ id }) =>
        only(callNode(context, id, NodeImages.methods.remove, [request])),
      );
      tellRemoved(
        context,
        valuesOf(outcomes).map(({ value }) => value),
      );
      const failures = failuresOf(outcomes);
      const missing = failures.filter(({ error }) => error.code === "NotFound");
      if (missing.length === outcomes.length)
        throw new SwarmError("NotFound", `no such image: ${image}: see swarmctl image ls`);
      const others = failures.filter((failure) => !missing.includes(failure));
      if (others.length > 0) throw together(others);
    });
  },
};

/** As docker's: a line for each name and image that is gone from any node. */
export function tellRemoved({ out }: Context, removed: readonly RemovedNodeImages[]): void {
  for (const reference of new Set(removed.flatMap(({ references }) => references))) out(`Untagged: ${reference}\n`);
  for (const digest of new Set(removed.flatMap(({ digests }) => digests))) out(`Deleted: ${digest}\n`);
}

/** The answer of a call that has one. */
export async function only<T>(answers: AsyncIterable<T>): Promise<T> {
  for await (const answer of answers) return answer;
  throw new SwarmError("Internal", "the node sent no answer");
}
