import { Control, ListNodesRequest, ListNodesRequest_Filters, NodeRole } from "@starling/api";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { choose } from "../flags/values.ts";
import { changeCluster } from "./change.ts";
import { findCluster } from "./find.ts";

interface JoinTokenFlags {
  readonly quiet?: boolean;
  readonly rotate?: boolean;
}

const roles = choose({ worker: "worker", manager: "manager" } as const);

export const joinToken: Command<JoinTokenFlags> = {
  arguments: "<worker|manager>",
  flags: [
    { flags: "-q, --quiet", help: "Only display the token" },
    { flags: "--rotate", help: "Make a new token; the old one lets nobody in any more" },
  ],
  async run(context, args, flags) {
    const role = roles(args[0]!);
    const cluster = flags.rotate
      ? await changeCluster(context, undefined, {
          rotation: { workerJoinToken: role === "worker", managerJoinToken: role === "manager" },
        })
      : await findCluster(context.client, undefined);
    const token = cluster.rootCa.joinTokens[role];
    if (flags.quiet) return context.out(`${token}\n`);
    const address = await managerAddress(context);
    if (flags.rotate) context.out(`Successfully rotated the ${role} join token.\n\n`);
    context.out(`To add a ${role} to this cluster, run on its host:\n\n`);
    context.out(`    swarmd --join-addr ${address} --join-token ${token}\n`);
  },
};

/** Where nodes can join: the leader, else any manager. */
async function managerAddress({ client }: Context): Promise<string> {
  const filters = ListNodesRequest_Filters.create({ roles: [NodeRole.MANAGER] });
  const { nodes } = await client.call(Control.methods.listNodes, ListNodesRequest.create({ filters }));
  const statuses = nodes.map(({ managerStatus }) => managerStatus).filter((status) => status !== undefined);
  return (statuses.find(({ leader }) => leader) ?? statuses[0])?.addr ?? "MANAGER:4242";
}
