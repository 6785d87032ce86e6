import { SwarmError } from "@starling/base/errors";
import { type Command, formatFlag } from "../command.ts";
import { formatJson } from "../format/json.ts";
import { wantsJson } from "../format/list.ts";
import { formatTimestamp } from "../format/time.ts";
import { chosenNodes, type NodeFlags, nodeFlag, tellFailures } from "../image/on-nodes.ts";
import { listVolumes, type PlacedVolume, placedVolumes } from "./gather.ts";

export const inspect: Command<NodeFlags & { readonly format?: string }> = {
  arguments: "<volume...>",
  flags: [{ ...formatFlag, help: "json (default)" }, nodeFlag],
  async run(context, names, flags) {
    wantsJson({ format: flags.format ?? "json" });
    const outcomes = await listVolumes(context, await chosenNodes(context, flags), names);
    const found = placedVolumes(outcomes);
    const missing = names.find((name) => !found.some(({ volume }) => volume.name === name));
    if (missing !== undefined) {
      tellFailures(context, outcomes, flags);
      throw new SwarmError("NotFound", `no such volume: ${missing}: see swarmctl volume ls`);
    }
    context.out(formatJson(found.length === 1 ? details(found[0]!) : found.map(details)));
  },
};

/** With docker's keys, and the node that has it. */
function details({ volume, node }: PlacedVolume): object {
  return {
    CreatedAt: formatTimestamp(volume.created),
    Driver: "local",
    Labels: volume.labels,
    Mountpoint: volume.mountpoint,
    Name: volume.name,
    Options: volume.options,
    Scope: "local",
    Node: node,
    UsedBy: volume.usedBy,
  };
}
