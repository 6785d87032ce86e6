import { LeaveSwarmRequest, NodeSelf } from "@starling/api";
import type { Command } from "./command.ts";

/** Stopping tasks takes their grace periods. */
const timeoutMs = 600_000;

export const leave: Command<{ readonly force?: boolean }> = {
  flags: [{ flags: "-f, --force", help: "Also as a manager: the others count it as lost" }],
  notes: "Run it on the node itself. Its tasks stop, swarmd ends; `swarmctl node rm` on a manager removes the node.",
  async run({ client, out }, _args, { force = false }) {
    await client.call(NodeSelf.methods.leave, LeaveSwarmRequest.create({ force }), { timeoutMs });
    out("Node left the swarm.\n");
  },
};
