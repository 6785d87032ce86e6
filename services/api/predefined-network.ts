/** Pure: no clock, no I/O, no randomness. */
import { Annotations, Driver, IPAMOptions, Network, NetworkSpec } from "./gen/messages.js";

/** Marks networks that the manager makes itself; users can't. */
export const predefinedNetworkLabel = "com.docker.swarm.predefined";

/** Names of the networks that each node has by itself, as Docker has; a network's driver has the same name. */
export const predefinedNetworkNames = ["bridge", "host"] as const;

/** The object by which services name such a network. Nothing is allocated on it: neither subnet nor addresses. */
export function predefinedNetwork(id: string, name: (typeof predefinedNetworkNames)[number]): Network {
  const driver = Driver.create({ name });
  return Network.create({
    id,
    spec: NetworkSpec.create({
      annotations: Annotations.create({ name, labels: { [predefinedNetworkLabel]: "true" } }),
      driverConfig: driver,
    }),
    driverState: driver,
    ipam: IPAMOptions.create({ driver: Driver.create() }),
  });
}

export function isPredefinedNetwork({ spec }: Pick<Network, "spec">): boolean {
  return spec.annotations.labels[predefinedNetworkLabel] === "true";
}

/** The node's own network: a task on it has the host's interfaces. */
export function isHostNetwork(network: Pick<Network, "spec">): boolean {
  return isPredefinedNetwork(network) && network.spec.driverConfig?.name === "host";
}
