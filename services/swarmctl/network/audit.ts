import { NetworkStateQuestion_Kind } from "@starling/api";
import { type Command, formatFlag } from "../command.ts";
import { diagnose } from "./diagnosis.ts";

export const audit: Command<{ readonly repair?: boolean; readonly format?: string }> = {
  arguments: "[node...]",
  flags: [{ flags: "--repair", help: "Mend what differs; nothing is restarted" }, formatFlag],
  notes: "Compares devices, routes, forwarding and balancing of each node's kernel with what the cluster asks for.",
  run: (context, nodes, { repair = false, format }) =>
    diagnose(context, {
      request: { kind: NetworkStateQuestion_Kind.AUDIT, repair },
      nodes,
      format,
      verdict: (found, count) =>
        `${found} findings on ${count} nodes${repair ? "" : ": mend them with swarmctl network audit --repair"}`,
    }),
};
