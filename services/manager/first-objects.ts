/** Pure: no clock, no I/O, no randomness. */
import {
  Annotations,
  Certificate,
  IssuanceStatus,
  IssuanceStatus_State,
  Node,
  NodeRole,
  NodeSpec,
  NodeSpec_Availability,
  NodeSpec_Membership,
} from "@starling/api";

/** The node object of a cluster's first manager, who issued its own certificate. */
export function firstManagerNode(nodeId: string, certificatePem: string): Node {
  return Node.create({
    id: nodeId,
    spec: NodeSpec.create({
      annotations: Annotations.create(),
      desiredRole: NodeRole.MANAGER,
      membership: NodeSpec_Membership.ACCEPTED,
      availability: NodeSpec_Availability.ACTIVE,
    }),
    role: NodeRole.MANAGER,
    certificate: Certificate.create({
      role: NodeRole.MANAGER,
      cn: nodeId,
      certificate: new TextEncoder().encode(certificatePem),
      status: IssuanceStatus.create({ state: IssuanceStatus_State.ISSUED }),
    }),
  });
}
