import { resolveService } from "../client/resolve.ts";
import type { Command } from "../command.ts";
import { parseInteger } from "../flags/values.ts";
import { resolveNodeOrSelf } from "../node/self.ts";
import { runningTaskOf } from "../task/exec.ts";
import { type ExecFlags, execFlags, execIn, execNotes } from "../task/exec-in.ts";

interface ServiceExecFlags extends ExecFlags {
  readonly slot?: number;
  readonly node?: string;
}

export const exec: Command<ServiceExecFlags> = {
  arguments: "<service> <command> [args...]",
  flags: [
    ...execFlags,
    { flags: "--slot <number>", help: "In the task of this slot (the first that runs)", parse: parseInteger },
    { flags: "--node <node>", help: "In a task on this node (self is this host)" },
  ],
  passThrough: true,
  notes: execNotes,
  async run(context, [reference, ...command], { slot, node: nodeReference, ...flags }) {
    const { client } = context;
    const service = await resolveService(client, reference!);
    const node = nodeReference === undefined ? undefined : await resolveNodeOrSelf(client, nodeReference);
    const words = [slot !== undefined && `slot ${slot} of`, `service ${reference}`, node && `on node ${nodeReference}`];
    const task = await runningTaskOf(client, service.id, {
      what: words.filter(Boolean).join(" "),
      matches: (each) => (slot === undefined || each.slot === slot) && (node === undefined || each.nodeId === node.id),
    });
    await execIn(context, task, command, flags);
  },
};
