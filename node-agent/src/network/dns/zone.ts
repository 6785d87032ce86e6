/** Pure: no clock, no I/O, no randomness. */
import { addressesOf } from "../desired.ts";
import { backendsByService, type NetworkView } from "../state.ts";

/** Names and addresses of one network. */
interface NetworkZone {
  readonly addresses: Map<string, string[]>;
  readonly names: Map<string, string>;
}

/** What the names of the cluster mean, by network: a task sees the names of its own networks only. */
export class Zone {
  readonly #networks = new Map<string, NetworkZone>();

  /**
   * Service names and aliases give the virtual IP, or the tasks' addresses when there is none; `tasks.NAME` gives the
   * tasks' addresses; a task's own names give its own. `NAME.NETWORK` says which network is meant.
   */
  constructor(view: NetworkView, leaving: ReadonlySet<string>) {
    for (const id of view.networks.keys()) this.#networks.set(id, { addresses: new Map(), names: new Map() });
    const backends = backendsByService(view, leaving);
    for (const service of view.services.values()) {
      for (const { networkId, virtualIp, virtualIp6, aliases } of service.networks) {
        const tasks = (backends.get(`${networkId}/${service.id}`) ?? []).flatMap(addressesOf);
        const network = view.networks.get(networkId)?.name ?? "";
        const virtualIps = [virtualIp, virtualIp6].filter((address) => address !== "");
        const own = virtualIps.length === 0 ? tasks : virtualIps;
        for (const name of [service.name, ...aliases]) {
          this.#add(networkId, name, own);
          this.#add(networkId, `tasks.${name}`, tasks);
          if (network === "") continue;
          this.#add(networkId, `${name}.${network}`, own);
          this.#add(networkId, `tasks.${name}.${network}`, tasks);
        }
        for (const address of virtualIps) this.#networks.get(networkId)?.names.set(address, service.name);
      }
    }
    for (const endpoint of view.endpoints.values()) {
      for (const name of endpoint.names) this.#add(endpoint.networkId, name, addressesOf(endpoint));
      const [name] = endpoint.names;
      if (name === undefined) continue;
      for (const address of addressesOf(endpoint)) this.#networks.get(endpoint.networkId)?.names.set(address, name);
    }
  }

  #add(networkId: string, name: string, addresses: readonly string[]): void {
    const known = this.#networks.get(networkId)?.addresses;
    const key = name.toLowerCase();
    const list = known?.get(key);
    if (list) list.push(...addresses);
    else known?.set(key, [...addresses]);
  }

  /** Addresses, of both families, of `name` on the first of `networkIds` that knows it; empty when it has none now; undefined: not ours. */
  lookup(networkIds: readonly string[], name: string): readonly string[] | undefined {
    const key = name.toLowerCase().replace(/\.$/, "");
    for (const id of networkIds) {
      const found = this.#networks.get(id)?.addresses.get(key);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Name of the service or task that has `address`; undefined: not ours. */
  reverse(networkIds: readonly string[], address: string): string | undefined {
    for (const id of networkIds) {
      const name = this.#networks.get(id)?.names.get(address);
      if (name !== undefined) return name;
    }
    return undefined;
  }
}
