/** Pure: no clock, no I/O, no randomness. */
import { Annotations, Driver, Network, NetworkSpec } from "@starling/api";

/** The network of the routing mesh, as it is created with the cluster; the allocator gives it its subnet. */
export function ingressNetwork(id: string): Network {
  return Network.create({
    id,
    spec: NetworkSpec.create({
      annotations: Annotations.create({ name: "ingress" }),
      driverConfig: Driver.create({ name: "overlay" }),
      ingress: true,
    }),
  });
}
