/** Pure: no clock, no I/O, no randomness. */

import {
  NodeRole_names,
  type NodeSpec,
  NodeSpec_Availability_names,
  NodeSpec_Membership_names,
} from "../gen/messages.js";
import { checkPatienceLabels } from "../node-patience.ts";
import { refuse, required } from "./refuse.ts";

export function validateNodeSpec(spec: NodeSpec | undefined): NodeSpec {
  const node = required(spec, "node spec");
  if (!(node.availability in NodeSpec_Availability_names)) {
    refuse(`node availability ${node.availability} is unknown: use active, pause or drain`);
  }
  if (!(node.desiredRole in NodeRole_names)) {
    refuse(`node role ${node.desiredRole} is unknown: use worker or manager`);
  }
  if (!(node.membership in NodeSpec_Membership_names)) refuse(`node membership ${node.membership} is unknown`);
  checkPatienceLabels(node.annotations.labels);
  return node;
}
