import { NodeImages, PruneNodeImagesRequest } from "@starling/api";
import { callNode } from "../client/node-call.ts";
import type { Command } from "../command.ts";
import { parseImageFilters } from "./filters.ts";
import { chosenNodes, type NodeFlags, nodeFlag, onNodes, tellFailures, valuesOf } from "./on-nodes.ts";
import { only, tellRemoved } from "./rm.ts";
import { formatSize } from "./view.ts";

interface PruneFlags extends NodeFlags {
  readonly all?: boolean;
  readonly force?: boolean;
  readonly filter?: readonly string[];
}

export const prune: Command<PruneFlags> = {
  flags: [
    { flags: "-a, --all", help: "Remove all images that no task uses, not only those without a name" },
    { flags: "-f, --force", help: "Do not ask" },
    { flags: "--filter <key=value>", help: "Only what matches: until (built before), label, label!", list: true },
    nodeFlag,
  ],
  notes: "Without --node: on all nodes. Images that were loaded from archives go, too.",
  async run(context, _args, flags) {
    const allowed = ["until", "label", "label!"] as const;
    const { until, labels, withoutLabels } = parseImageFilters(flags.filter, { allowed, nowMs: context.clock.now() });
    const { all = false } = flags;
    if (!flags.force) {
      const what = all ? "all images that no task uses" : "all images without a name that no task uses";
      const answer = await context.readLine(`This will remove ${what}. Are you sure? [y/N] `);
      if (!/^y(es)?$/i.test(answer.trim())) return;
    }
    const request = PruneNodeImagesRequest.create({ all, until, labels, withoutLabels });
    const outcomes = await onNodes(await chosenNodes(context, flags), ({ id }) =>
      only(callNode(context, id, NodeImages.methods.prune, [request])),
    );
    const removed = valuesOf(outcomes).map(({ value }) => value);
    tellRemoved(context, removed);
    const freed = removed.reduce((sum, { freedBytes }) => sum + freedBytes, 0);
    context.out(`Total reclaimed space: ${formatSize(freed)}\n`);
    tellFailures(context, outcomes, flags);
  },
};
