/** Pure: no clock, no I/O, no randomness. */
import {
  type BalancedTask,
  type Entries,
  type Entry,
  entriesOf,
  networksEntry,
  serviceEntries,
  stickyEntries,
} from "./balancer-plan.ts";
import { type Change, Claims } from "./claims.ts";
import type { VirtualService } from "./nft-task.ts";

interface BalancedNetwork {
  readonly vni: number;
  /** By virtual IP. */
  readonly services: Claims<VirtualService>;
}

/** A task with the numbers of its networks. */
interface Client extends BalancedTask {
  readonly vnis: readonly number[];
}

/**
 * What the programs of connect time should know: services on networks that have a task attached here, and these tasks. Kept so that
 * a change costs what it changes, as `Reach` does for tables.
 */
export class Balances {
  readonly #networks = new Map<string, BalancedNetwork>();
  /** Networks that lost their last task here, or their number, since the last call of `take`; no services are there. */
  #former: BalancedNetwork[] = [];
  /** By cookie. */
  readonly #clients = new Claims<Client>(
    ({ own, vnis }) => `${vnis} ${own.map(({ networkId, address }) => `${networkId} ${address}`).join()}`,
  );

  /** Those whose services are to be put. */
  get networks(): Pick<ReadonlyMap<string, unknown>, "has"> {
    return this.#networks;
  }

  /** 0: services of the network are not looked at. */
  vniOf(networkId: string): number {
    return this.#networks.get(networkId)?.vni ?? 0;
  }

  /** Has services of the network be looked at under that number, or with 0 not any more. Those that were put are taken back. */
  setNetwork(networkId: string, vni: number): void {
    const old = this.#networks.get(networkId);
    if (old !== undefined) {
      old.services.clear();
      this.#former.push(old);
    }
    if (vni === 0) this.#networks.delete(networkId);
    else this.#networks.set(networkId, { vni, services: new Claims(textOf) });
    for (const client of [...this.#clients.values.values()])
      if (client.own.some((one) => one.networkId === networkId)) this.setClient(client);
  }

  /** `services` are on `networks`. */
  put(how: "claim" | "withdraw", services: readonly VirtualService[]): void {
    for (const service of services) this.#networks.get(service.networkId)?.services[how](service.virtualIp, service);
  }

  /** Takes all services back. */
  clearServices(): void {
    for (const { services } of this.#networks.values()) services.clear();
  }

  setClient({ cookie, own }: BalancedTask): void {
    this.removeClient(cookie);
    const vnis = new Set(own.map(({ networkId }) => this.vniOf(networkId)).filter((vni) => vni !== 0));
    this.#clients.claim(String(cookie), { cookie, own, vnis: [...vnis] });
  }

  removeClient(cookie: bigint): void {
    const client = this.#clients.values.get(String(cookie));
    if (client !== undefined) this.#clients.withdraw(String(cookie), client);
  }

  /** What the maps should have. */
  get entries(): Entries {
    const clients = [...this.#clients.values.values()];
    const services = [...this.#networks.values()].flatMap((network) =>
      servicesEntries(network, network.services.values.values(), clients),
    );
    return entriesOf([...services, ...clients.map(clientEntry)]);
  }

  /** Entries that changed since the last call, as they were and as they are. */
  take(): { readonly before: Entries; readonly after: Entries } {
    const changed = this.#clients.take();
    const now = [...this.#clients.values.values()];
    const then = [...now.filter(({ cookie }) => !changed.after.has(String(cookie))), ...changed.before.values()];
    const networks = [...this.#former, ...this.#networks.values()].map((network) => ({
      network,
      change: network.services.take(),
    }));
    this.#former = [];
    const part = (which: keyof Change<unknown>): Entries => {
      const [all, others] = [which === "before" ? then : now, [...changed[which].values()]];
      const entries = networks.flatMap(({ network, change }) => [
        ...servicesEntries(network, change[which].values(), all),
        ...(others.length === 0 ? [] : unchangedEntries(network, change, others)),
      ]);
      return entriesOf([...entries, ...others.map(clientEntry)]);
    };
    return { before: part("before"), after: part("after") };
  }
}

const textOf = ({ sticky, backends }: VirtualService): string => `${sticky} ${backends.join()}`;

const clientEntry = ({ cookie, vnis }: Client): Entry => networksEntry(cookie, vnis);

function servicesEntries(
  { vni }: BalancedNetwork,
  services: Iterable<VirtualService>,
  clients: readonly Client[],
): readonly Entry[] {
  return Array.from(services, (service) => [
    ...serviceEntries(vni, service),
    ...(service.sticky ? clients.flatMap((client) => stickyEntries(vni, service, client)) : []),
  ]).flat();
}

/** What clients have of services that did not change. */
function unchangedEntries(
  { vni, services }: BalancedNetwork,
  { after }: Change<VirtualService>,
  clients: readonly Client[],
): readonly Entry[] {
  const unchanged = [...services.values].filter(([virtualIp, { sticky }]) => sticky && !after.has(virtualIp));
  return unchanged.flatMap(([, service]) => clients.flatMap((client) => stickyEntries(vni, service, client)));
}
