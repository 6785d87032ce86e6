import { NodeRole, NodeSpec_Availability } from "@starling/api";
import type { Command } from "../command.ts";
import { type PatienceFlags, patienceFlags, withPatience } from "../flags/patience.ts";
import { choose, parsePairs } from "../flags/values.ts";
import { changeNode } from "./change.ts";

interface UpdateFlags extends PatienceFlags {
  readonly availability?: NodeSpec_Availability;
  readonly role?: NodeRole;
  readonly name?: string;
  readonly label?: readonly string[];
  readonly labelAdd?: readonly string[];
  readonly labelRm?: readonly string[];
}

const availabilities = {
  active: NodeSpec_Availability.ACTIVE,
  pause: NodeSpec_Availability.PAUSE,
  drain: NodeSpec_Availability.DRAIN,
};
const roles = { worker: NodeRole.WORKER, manager: NodeRole.MANAGER };

export const update: Command<UpdateFlags> = {
  arguments: "<node>",
  flags: [
    { flags: "--availability <word>", help: "active, pause or drain", parse: choose(availabilities) },
    { flags: "--role <role>", help: "worker or manager", parse: choose(roles) },
    { flags: "--name <name>", help: "Name of the node's object; lists show the name of its host" },
    { flags: "--label <key=value>", help: "Set the node's labels", list: true },
    { flags: "--label-add <key=value>", help: "Add or change a label", list: true },
    { flags: "--label-rm <key>", help: "Remove a label", list: true },
    ...patienceFlags,
  ],
  async run(context, [reference], flags) {
    await changeNode(context, reference!, (spec) => {
      const labels = { ...(flags.label ? parsePairs(flags.label) : spec.annotations.labels) };
      for (const key of flags.labelRm ?? []) delete labels[key];
      return {
        ...spec,
        availability: flags.availability ?? spec.availability,
        desiredRole: flags.role ?? spec.desiredRole,
        annotations: {
          ...spec.annotations,
          name: flags.name ?? spec.annotations.name,
          labels: withPatience({ ...labels, ...parsePairs(flags.labelAdd ?? []) }, flags),
        },
      };
    });
    context.out(`${reference}\n`);
  },
};
