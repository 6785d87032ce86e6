/** Pure: no clock, no I/O, no randomness. */

import { type Network, PortConfig_PublishMode, type ServiceSpec } from "./gen/messages.js";

/** The routing mesh's network: marked so, or the older kind that is known by label and name. */
export function isIngressNetwork(network: Pick<Network, "spec">): boolean {
  const { annotations, ingress } = network.spec;
  return ingress || ("com.docker.swarm.internal" in annotations.labels && annotations.name === "ingress");
}

/** Whether the service publishes a port through the routing mesh. */
export function needsIngressNetwork(spec: ServiceSpec): boolean {
  return spec.endpoint?.ports.some((port) => port.publishMode === PortConfig_PublishMode.INGRESS) ?? false;
}

/** Jobs run to completion: they have no update config and count iterations. */
export function isJob(spec: ServiceSpec): boolean {
  return spec.replicatedJob !== undefined || spec.globalJob !== undefined;
}
