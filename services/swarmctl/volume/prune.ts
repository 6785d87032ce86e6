import { NodeVolumes, PruneNodeVolumesRequest } from "@starling/api";
import { callNode } from "../client/node-call.ts";
import type { Command } from "../command.ts";
import { chosenNodes, type NodeFlags, nodeFlag, nodeName, onNodes, tellFailures, valuesOf } from "../image/on-nodes.ts";
import { only } from "../image/rm.ts";
import { formatSize } from "../image/view.ts";
import { parseVolumeFilters } from "./filters.ts";

interface PruneFlags extends NodeFlags {
  readonly all?: boolean;
  readonly force?: boolean;
  readonly filter?: readonly string[];
}

export const prune: Command<PruneFlags> = {
  flags: [
    { flags: "-a, --all", help: "Also named volumes that no container has mounted" },
    { flags: "-f, --force", help: "Do not ask" },
    { flags: "--filter <key=value>", help: "Only what matches: label, label!", list: true },
    nodeFlag,
  ],
  notes:
    "Without --node: on all nodes. A named volume may be one that a task waits for, or will need when it is scaled up.",
  async run(context, _args, flags) {
    const { labels, withoutLabels } = parseVolumeFilters(flags.filter, ["label", "label!"]);
    const { all = false } = flags;
    if (!flags.force) {
      const what = all
        ? "all volumes that no container has mounted"
        : "all anonymous volumes that no container has mounted";
      const answer = await context.readLine(`This will remove ${what}. Are you sure? [y/N] `);
      if (!/^y(es)?$/i.test(answer.trim())) return;
    }
    const request = PruneNodeVolumesRequest.create({ all, labels, withoutLabels });
    const outcomes = await onNodes(await chosenNodes(context, flags), ({ id }) =>
      only(callNode(context, id, NodeVolumes.methods.prune, [request])),
    );
    const removed = valuesOf(outcomes);
    for (const { node, value } of removed) for (const name of value.names) context.out(`${nodeName(node)}: ${name}\n`);
    const freed = removed.reduce((sum, { value }) => sum + value.freedBytes, 0);
    context.out(`Total reclaimed space: ${formatSize(freed)}\n`);
    tellFailures(context, outcomes, flags);
  },
};
