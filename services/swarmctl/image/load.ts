import { open } from "node:fs/promises";
import { LoadNodeImagesRequest, type Node, NodeImages } from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import { callNode } from "../client/node-call.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { UsageError } from "../usage-error.ts";
import { FanOut } from "./fan-out.ts";
import { chosenNodes, failuresOf, type NodeFlags, nodeFlag, nodeName, onNodes, together } from "./on-nodes.ts";

interface LoadFlags extends NodeFlags {
  readonly input?: string;
  readonly quiet?: boolean;
  readonly tag?: string;
}

const chunkBytes = 256 << 10;

export const load: Command<LoadFlags> = {
  flags: [
    { flags: "-i, --input <file>", help: "Read from an archive file instead of standard input" },
    { flags: "-q, --quiet", help: "Only display the images' names" },
    { flags: "-t, --tag <name>", help: "Name for the archive's only image, e.g. of an OCI layout without names" },
    nodeFlag,
  ],
  notes:
    "Takes what docker save, podman save and skopeo write (docker-archive, oci-archive), plain or compressed by gzip or zstd.\n" +
    "Without --node the images are loaded on all nodes.",
  async run(context, _args, flags) {
    const source = await archiveOf(context, flags.input);
    const nodes = await chosenNodes(context, flags);
    const fanOut = new FanOut(source);
    const told = new Set<string>();
    const outcomes = await onNodes(nodes, async (node) => {
      const reader = fanOut.reader();
      const requests = requestsOf(reader.chunks, flags.tag ?? "");
      try {
        for await (const { id, references } of callNode(context, node.id, NodeImages.methods.load, requests)) {
          const names = references.length > 0 ? references : [id];
          for (const name of names) {
            tell(context, { name, node, isNamed: references.length > 0, quiet: flags.quiet, told });
          }
        }
      } finally {
        reader.leave();
      }
    });
    const failures = failuresOf(outcomes);
    if (failures.length > 0) throw together(failures);
  },
};

function tell(
  { out }: Context,
  image: {
    readonly name: string;
    readonly node: Node;
    readonly isNamed: boolean;
    readonly quiet: boolean | undefined;
    readonly told: Set<string>;
  },
): void {
  const { name, node, isNamed, quiet, told } = image;
  if (!quiet) out(`Loaded image${isNamed ? "" : " ID"}: ${name} (node ${nodeName(node)})\n`);
  else if (!told.has(name)) out(`${name}\n`);
  told.add(name);
}

async function archiveOf(context: Context, path: string | undefined): Promise<AsyncIterable<Uint8Array>> {
  if (path !== undefined && path !== "-") return fileChunks(path);
  const input = context.inputStream();
  if (input === undefined) throw new UsageError("standard input is a terminal: give the archive with --input FILE");
  return input;
}

/** Opens the file at once, so that a wrong name is told before anybody is asked. */
async function fileChunks(path: string): Promise<AsyncIterable<Uint8Array>> {
  const file = await open(path).catch((cause: NodeJS.ErrnoException) => {
    throw new SwarmError("InvalidArgument", `--input ${JSON.stringify(path)}: ${cause.message}`, { cause });
  });
  return file.createReadStream({ highWaterMark: chunkBytes });
}

async function* requestsOf(
  chunks: AsyncIterable<Uint8Array>,
  reference: string,
): AsyncGenerator<LoadNodeImagesRequest> {
  yield LoadNodeImagesRequest.create({ reference });
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += chunkBytes) {
      yield LoadNodeImagesRequest.create({ data: chunk.subarray(at, at + chunkBytes) });
    }
  }
}
