import { NetworkStateQuestion_Kind } from "@starling/api";
import { type Command, formatFlag } from "../command.ts";
import { diagnose } from "../network/diagnosis.ts";

export const check: Command<{ readonly format?: string }> = {
  arguments: "[node...]",
  flags: [formatFlag],
  notes: "Sends packets, small ones and of full size, from each node to every other, as tasks' packets go.",
  run: (context, nodes, { format }) =>
    diagnose(context, {
      request: { kind: NetworkStateQuestion_Kind.CHECK, timeoutMs: 30_000 },
      nodes,
      format,
      verdict: (found, count) => `${found} faults on ${count} nodes`,
    }),
};
