import { open, rename, rm } from "node:fs/promises";
import { type Node, NodeImages, SaveNodeImagesRequest } from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import { callNode } from "../client/node-call.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { UsageError } from "../usage-error.ts";
import { listImages } from "./gather.ts";
import { chosenNodes, type NodeFlags, nodeFlag, tellFailures, valuesOf } from "./on-nodes.ts";

export const save: Command<NodeFlags & { readonly output?: string }> = {
  arguments: "<image...>",
  flags: [{ flags: "-o, --output <file>", help: "Write to a file instead of standard output" }, nodeFlag],
  notes:
    "The archive is docker save's and an OCI layout at once. It comes from the first node that holds all the images.",
  async run(context, words, flags) {
    if (flags.output === undefined && context.columns !== undefined) {
      throw new UsageError("standard output is a terminal: give a file with --output FILE, or redirect it");
    }
    const node = await holderOf(context, words, flags);
    const request = SaveNodeImagesRequest.create({ images: words });
    const pieces = callNode(context, node.id, NodeImages.methods.save, [request]);
    if (flags.output === undefined) for await (const { data } of pieces) await context.outBytes(data);
    else await writeWhole(flags.output, pieces);
  },
};

/** The first node that holds all images. */
async function holderOf(context: Context, words: readonly string[], flags: NodeFlags): Promise<Node> {
  const nodes = await chosenNodes(context, flags);
  const lists = await Promise.all(words.map((word) => listImages(context, nodes, { words: [word] })));
  for (const [i, outcomes] of lists.entries()) {
    if (valuesOf(outcomes).some(({ value }) => value.length > 0)) continue;
    tellFailures(context, outcomes, flags);
    throw new SwarmError("NotFound", `no such image: ${words[i]}: see swarmctl image ls`);
  }
  const holds = (node: Node) =>
    lists.every((outcomes) => valuesOf(outcomes).some((each) => each.node.id === node.id && each.value.length > 0));
  const holder = nodes.find(holds);
  if (holder !== undefined) return holder;
  throw new SwarmError("FailedPrecondition", `no node holds all of ${words.join(", ")}: save them one by one`);
}

/** The file is there when all of it is. */
async function writeWhole(path: string, pieces: AsyncIterable<{ readonly data: Uint8Array }>): Promise<void> {
  const temporary = `${path}.partial`;
  try {
    const file = await open(temporary, "w", 0o600);
    try {
      for await (const { data } of pieces) await file.writeFile(data);
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (thrown) {
    await rm(temporary, { force: true });
    const { code, message } = thrown as NodeJS.ErrnoException;
    if (thrown instanceof SwarmError || code === undefined) throw thrown;
    throw new SwarmError("InvalidArgument", `--output ${JSON.stringify(path)}: ${message}`, { cause: thrown });
  }
}
