import { NodeRole, type NodeSpec, NodeSpec_Availability } from "@starling/api";
import type { Command } from "../command.ts";
import { forEach } from "../removing.ts";
import { changeNode } from "./change.ts";

/** A verb that sets one field of the nodes it is given. */
function setting(field: Partial<NodeSpec>): Command<object> {
  return {
    arguments: "<node...>",
    flags: [],
    run: (context, args) =>
      forEach(context, args, async (reference) => {
        await changeNode(context, reference, (spec) => ({ ...spec, ...field }));
      }),
  };
}

export const activate = setting({ availability: NodeSpec_Availability.ACTIVE });
export const pause = setting({ availability: NodeSpec_Availability.PAUSE });
export const promote = setting({ desiredRole: NodeRole.MANAGER });
export const demote = setting({ desiredRole: NodeRole.WORKER });
