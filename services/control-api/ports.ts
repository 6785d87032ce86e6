/** Pure: no clock, no I/O, no randomness. */

import {
  defaultVxlanPort,
  type PortConfig,
  PortConfig_Protocol,
  PortConfig_Protocol_names,
  PortConfig_PublishMode,
  type Service,
  type ServiceSpec,
} from "@starling/api";
import { SwarmError } from "@starling/base";

/**
 * Refuses `spec` when another service holds one of its published ports: an ingress port is held on every node, so it
 * clashes with ingress and host ports alike; two host ports may share a number, the scheduler keeps their tasks apart.
 */
export function checkPortClash(spec: ServiceSpec, others: Iterable<Service>): void {
  const wanted = new Map<string, PortConfig_PublishMode>();
  for (const port of spec.endpoint?.ports ?? [])
    if (port.publishedPort !== 0) wanted.set(portKey(port), port.publishMode);
  if (wanted.size === 0) return;
  for (const other of others) {
    for (const port of [...(other.spec.endpoint?.ports ?? []), ...(other.endpoint?.ports ?? [])]) {
      if (port.publishedPort === 0) continue;
      const mode = wanted.get(portKey(port));
      if (mode === undefined) continue;
      const { HOST } = PortConfig_PublishMode;
      if (mode === HOST && port.publishMode === HOST) continue;
      const held = port.publishMode === HOST ? "a host-published port" : "an ingress port";
      throw new SwarmError(
        "InvalidArgument",
        `port '${port.publishedPort}' is already in use by service '${other.spec.annotations.name}' (${other.id}) as ${held}`,
      );
    }
  }
}

/**
 * Refuses `spec` when it publishes a port that the swarm itself needs on its hosts: their kernels would hand what other
 * nodes send there to the service, and no node could join or come back. `managerAddresses` are `host:port`.
 */
export function checkOwnPorts(spec: ServiceSpec, managerAddresses: readonly string[]): void {
  const { TCP, UDP } = PortConfig_Protocol;
  const managerPorts = new Set(managerAddresses.map((address) => Number(address.slice(address.lastIndexOf(":") + 1))));
  for (const { protocol, publishedPort } of spec.endpoint?.ports ?? []) {
    const forManagers = protocol === TCP && managerPorts.has(publishedPort);
    if (!forManagers && !(protocol === UDP && publishedPort === defaultVxlanPort)) continue;
    throw new SwarmError(
      "InvalidArgument",
      `port '${publishedPort}' is already in use by ${forManagers ? "the managers' own API" : "the overlay networks (VXLAN)"}: publish another`,
    );
  }
}

function portKey(port: PortConfig): string {
  return `${port.publishedPort}/${PortConfig_Protocol_names[port.protocol]}`;
}
