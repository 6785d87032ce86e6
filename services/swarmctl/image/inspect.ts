import { SwarmError } from "@starling/base/errors";
import { type Command, formatFlag } from "../command.ts";
import { formatJson } from "../format/json.ts";
import { wantsJson } from "../format/list.ts";
import { formatTimestamp } from "../format/time.ts";
import { type ClusterImage, listImages, merge } from "./gather.ts";
import { chosenNodes, type NodeFlags, nodeFlag, tellFailures } from "./on-nodes.ts";
import { splitReference } from "./view.ts";

export const inspect: Command<NodeFlags & { readonly format?: string }> = {
  arguments: "<image...>",
  flags: [{ ...formatFlag, help: "json (default)" }, nodeFlag],
  async run(context, words, flags) {
    wantsJson({ format: flags.format ?? "json" });
    const nodes = await chosenNodes(context, flags);
    const shown: object[] = [];
    for (const word of words) {
      const outcomes = await listImages(context, nodes, { words: [word], withConfig: true });
      const found = merge(outcomes);
      if (found.length === 0) {
        tellFailures(context, outcomes, flags);
        throw new SwarmError("NotFound", `no such image: ${word}: see swarmctl image ls`);
      }
      shown.push(...found.map(details));
    }
    context.out(formatJson(shown.length === 1 ? shown[0] : shown));
  },
};

/** With docker's keys, and the nodes that hold it. */
function details({ image, references, nodes, usedBy }: ClusterImage): object {
  const config = JSON.parse(Buffer.from(image.config).toString("utf8")) as Record<string, unknown>;
  const rootfs = config["rootfs"] as { readonly diff_ids?: unknown } | undefined;
  const split = references.map(splitReference);
  const [os, architecture, variant] = image.platform.split("/");
  return {
    Id: image.id,
    RepoTags: [
      ...new Set(split.filter(({ tag }) => tag !== "<none>").map(({ repository, tag }) => `${repository}:${tag}`)),
    ],
    RepoDigests: [
      ...new Set(split.filter(({ digest }) => digest !== "").map((each) => `${each.repository}@${each.digest}`)),
    ],
    Manifest: image.digest,
    Created: formatTimestamp(image.created),
    Author: config["author"] ?? "",
    Config: config["config"] ?? {},
    Architecture: architecture,
    ...(variant === undefined ? {} : { Variant: variant }),
    Os: os,
    Size: image.size,
    RootFS: { Type: "layers", Layers: rootfs?.diff_ids ?? [] },
    Loaded: image.loaded,
    LastUsed: formatTimestamp(image.lastUsed),
    Nodes: nodes,
    UsedBy: usedBy,
  };
}
