/** Pure: no clock, no I/O, no randomness. */
import { addressesOf, type NetworkView } from "../state.ts";

/** Before a name, it asks for the tasks' addresses. */
const tasksPrefix = "tasks.";

/** What the names of the cluster mean, by network: a task sees the names of its own networks only. Looked up as it is asked for. */
export class Zone {
  readonly #view: NetworkView;
  readonly #leaving: ReadonlySet<string>;

  /** `leaving` tasks are left out of their services. */
  constructor(view: NetworkView, leaving: ReadonlySet<string>) {
    this.#view = view;
    this.#leaving = leaving;
  }

  /**
   * Addresses, of both families, of `name` on the first of `networkIds` that knows it; empty when it has none now; undefined: not ours.
   * Service names and aliases give the virtual IP, or the tasks' addresses when there is none; `tasks.NAME` gives the
   * tasks' addresses; a task's own names give its own. `NAME.NETWORK` says which network is meant.
   */
  lookup(networkIds: readonly string[], name: string): readonly string[] | undefined {
    const key = name.toLowerCase().replace(/\.$/, "");
    for (const id of networkIds) {
      const network = this.#view.networks.get(id)?.name.toLowerCase() ?? "";
      const bare = network !== "" && key.endsWith(`.${network}`) ? [key.slice(0, -network.length - 1)] : [];
      const found = [
        ...[key, ...bare].flatMap((text) => this.#services(id, text)),
        ...this.#view.endpointsNamed(id, key).map(addressesOf),
      ];
      if (found.length > 0) return found.flat();
    }
    return undefined;
  }

  /** Name of the service or task that has `address`; undefined: not ours. */
  reverse(networkIds: readonly string[], address: string): string | undefined {
    for (const id of networkIds) {
      const named = this.#view.endpointsWith(id, address).flatMap(({ names: [name] }) => name ?? []);
      const name = named[0] ?? this.#view.servicesWith(id, address)[0]?.name;
      if (name !== undefined) return name;
    }
    return undefined;
  }

  /** Addresses of each service that `name` means on the network. */
  #services(networkId: string, name: string): readonly (readonly string[])[] {
    const tasksOf = (serviceId: string) =>
      this.#view.backends(networkId, serviceId, this.#leaving).flatMap(addressesOf);
    const byName = this.#view.servicesNamed(networkId, name).map(({ id, networks }) => {
      const on = networks.filter((network) => network.networkId === networkId);
      const virtualIps = on.flatMap(({ virtualIp, virtualIp6 }) => [virtualIp, virtualIp6]).filter((ip) => ip !== "");
      return virtualIps.length === 0 ? tasksOf(id) : virtualIps;
    });
    if (!name.startsWith(tasksPrefix)) return byName;
    const services = this.#view.servicesNamed(networkId, name.slice(tasksPrefix.length));
    return [...byName, ...services.map(({ id }) => tasksOf(id))];
  }
}
