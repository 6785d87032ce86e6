/** Pure: no clock, no I/O, no randomness. */
import { type HostRoute, pair, routeKey } from "./host-network.ts";
import type { Put } from "./ledger.ts";
import {
  loopbackRoute,
  type Mesh,
  macOf,
  meshAddress6,
  meshPrefix6,
  nextHop6,
  returnGateway,
  returnMac,
} from "./names.ts";

const families = [
  { number: 4, everything: "0.0.0.0/0", alone: (address: string) => `${address}/32`, nextHop: (to: string) => to },
  { number: 6, everything: "::/0", alone: (address: string) => `${meshAddress6(address)}/128`, nextHop: nextHop6 },
] as const;

/** The mesh's own IPv4 subnets: it has those whatever the underlay is. */
export const meshSubnets = (subnets: readonly string[]): readonly string[] => subnets.filter((s) => !s.includes(":"));

/** What leads by a mesh's device, in IPv4 and, where the host has it, in IPv6 alike, put by `put`. Addresses are the IPv4 ones. */
export function meshPaths({ device, table }: Mesh, options: { readonly ipv6: boolean; readonly put: Put }) {
  const { put } = options;
  const served = options.ipv6 ? families : families.slice(0, 1);
  const addRoute = (route: HostRoute) => put("routes", routeKey(route), route);
  return {
    /** Marked replies: by the device, but for those to the mesh's `subnets`, which the main table knows. */
    replies(subnets: readonly string[]): void {
      if (options.ipv6) addRoute(loopbackRoute(device));
      const inMesh = [...meshSubnets(subnets), ...(options.ipv6 ? [meshPrefix6] : [])];
      for (const subnet of inMesh) addRoute({ destination: subnet, table });
      for (const { number, everything, nextHop } of served) {
        put("returnTables", pair(String(number), String(table)), true);
        put("neighbours", pair(device, nextHop(returnGateway)), returnMac);
        addRoute({ destination: everything, table, device, gateway: nextHop(returnGateway) });
      }
    },
    /** To another node's address in the mesh, whose VXLAN packets go to `host`; `table`: default the main one. */
    node(address: string, host: string, of: Pick<HostRoute, "table"> = {}): void {
      put("forwarding", pair(device, macOf(address)), host);
      for (const { alone, nextHop } of served) {
        put("neighbours", pair(device, nextHop(address)), macOf(address));
        addRoute({ ...of, destination: alone(address), device, gateway: nextHop(address) });
      }
    },
    /** To a task at the node of that address. */
    task(address: string, node: string, of: Pick<HostRoute, "table"> = {}): void {
      for (const { alone, nextHop } of served)
        addRoute({ ...of, destination: alone(address), device, gateway: nextHop(node) });
    },
  };
}
