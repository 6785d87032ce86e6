import { type Command, type ListFlags, listFlags } from "../command.ts";
import { formatList } from "../format/list.ts";
import { nameMatches, parseImageFilters, passes } from "./filters.ts";
import { listImages, merge } from "./gather.ts";
import { chosenNodes, type NodeFlags, nodeFlag, tellFailures, valuesOf } from "./on-nodes.ts";
import { imageView, rowsOf } from "./view.ts";

interface LsFlags extends ListFlags, NodeFlags {
  readonly all?: boolean;
  readonly digests?: boolean;
  readonly filter?: readonly string[];
}

export const list: Command<LsFlags> = {
  arguments: "[repository]",
  flags: [
    ...listFlags,
    { flags: "-a, --all", help: "As docker's; there are no intermediate images here, so nothing is hidden" },
    { flags: "--digests", help: "Show digests" },
    {
      flags: "-f, --filter <key=value>",
      help: "Show only what matches: dangling, label, label!, reference, until",
      list: true,
    },
    nodeFlag,
  ],
  notes: "SIZE is that of the layers as they came from the registry or the archive.",
  async run(context, [repository], flags) {
    const nowMs = context.clock.now();
    const allowed = ["dangling", "label", "label!", "reference", "until"] as const;
    const filters = parseImageFilters(flags.filter, { allowed, nowMs });
    const nodes = await chosenNodes(context, flags);
    const outcomes = await listImages(context, nodes);
    const patterns = [...filters.references, ...(repository === undefined ? [] : [repository])];
    const rows = rowsOf(merge(outcomes).filter((image) => passes(image, filters))).filter((row) =>
      patterns.every((pattern) => nameMatches(pattern, row)),
    );
    const shown = flags.quiet
      ? rows.filter((row, i) => rows.findIndex(({ image }) => image.id === row.image.id) === i)
      : rows;
    const nodeCount = valuesOf(outcomes).length;
    const view = imageView({ nowMs, digests: flags.digests ?? false, whole: flags.trunc === false, nodeCount });
    context.out(formatList(shown, view, flags));
    tellFailures(context, outcomes, flags);
  },
};
