import { type Command, type ListFlags, listFlags } from "../command.ts";
import { formatList, type ListView } from "../format/list.ts";
import { formatTimestamp } from "../format/time.ts";
import { chosenNodes, type NodeFlags, nodeFlag, tellFailures } from "../image/on-nodes.ts";
import { parseVolumeFilters, passes } from "./filters.ts";
import { listVolumes, type PlacedVolume, placedVolumes } from "./gather.ts";

export const list: Command<ListFlags & NodeFlags & { readonly filter?: readonly string[] }> = {
  flags: [
    ...listFlags,
    { flags: "-f, --filter <key=value>", help: "Show only what matches: dangling, label, label!, name", list: true },
    nodeFlag,
  ],
  notes: "Volumes belong to nodes: the same name on two nodes is two volumes.",
  async run(context, _words, flags) {
    const filters = parseVolumeFilters(flags.filter, ["dangling", "label", "label!", "name"]);
    const outcomes = await listVolumes(context, await chosenNodes(context, flags));
    const shown = placedVolumes(outcomes).filter((placed) => passes(placed, filters));
    context.out(formatList(shown, view, flags));
    tellFailures(context, outcomes, flags);
  },
};

const view: ListView<PlacedVolume> = {
  heading: ["DRIVER", "VOLUME NAME", "NODE", "USED BY"],
  id: ({ volume }) => volume.name,
  row: ({ volume, node }) => ["local", volume.name, node, volume.usedBy.join(",")],
  json: detailsOf,
};

/** With the keys of our lists. */
function detailsOf({ volume, node }: PlacedVolume): object {
  const { name, mountpoint, created, labels, options, anonymous, usedBy } = volume;
  return {
    name,
    node,
    driver: "local",
    mountpoint,
    createdAt: formatTimestamp(created),
    labels,
    options,
    anonymous,
    usedBy,
  };
}
