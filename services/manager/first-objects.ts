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
  predefinedNetwork,
  predefinedNetworkNames,
} from "@starling/api";
import { newId } from "@starling/base";
import { byName, type MemoryStore } from "@starling/store";

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

/** Makes the objects of the networks that nodes have by themselves, unless the names are taken. */
export async function ensurePredefinedNetworks(store: MemoryStore): Promise<void> {
  const missing = predefinedNetworkNames.filter((name) =>
    store.view((tx) => tx.networks.find(byName(name)).length === 0),
  );
  if (missing.length === 0) return;
  await store.update((tx) => {
    for (const name of missing) tx.networks.create(predefinedNetwork(newId(), name));
  });
}
