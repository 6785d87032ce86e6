import { NetworkStateQuestion_Kind } from "@starling/api";
import { type Command, formatFlag } from "../command.ts";
import { diagnose } from "../network/diagnosis.ts";

export const check: Command<{ readonly format?: string }> = {
  arguments: "[node...]",
  flags: [formatFlag],
  notes:
    "Sends packets, small ones and of full size, from each node to every other, as tasks' packets go. Then names the path of " +
    "packets of encrypted networks between nodes that share one: direct, kept open through a NAT, through a manager, or none.",
  run: (context, nodes, { format }) =>
    diagnose(context, {
      request: { kind: NetworkStateQuestion_Kind.CHECK, timeoutMs: 30_000 },
      nodes,
      format,
      verdict: (found, count) => `${found} faults on ${count} nodes`,
    }),
};
