import { rtnetlink } from "@starling/native/net";
import type { DesiredState } from "./desired-state.ts";
import { converse, type HostApplier } from "./host-applier.ts";
import { bridgeOf, portOf, routedOf } from "./names.ts";
import { routesIpv6 } from "./task-interfaces.ts";
import type { MadeDevices, TaskNetwork } from "./task-network.ts";

/** Makes and removes the host's ends of tasks' devices, and says so to those who remember what the host has. */
export class TaskDevices {
  readonly #applier: HostApplier;
  readonly #desired: DesiredState;
  readonly #netns: string | undefined;

  /** `netns` is the host's network namespace; undefined: the process's own. */
  constructor(options: {
    readonly applier: HostApplier;
    readonly desired: DesiredState;
    readonly netns: string | undefined;
  }) {
    this.#applier = options.applier;
    this.#desired = options.desired;
    this.#netns = options.netns;
  }

  /** To be called before the task is wanted: devices of its that are there already may have entries, too, which are to be looked at. */
  async expect({ interfaces }: TaskNetwork): Promise<void> {
    const { links } = (await this.#applier.observation()).network;
    if (interfaces.some(({ hostDevice }) => links.has(hostDevice))) this.#applier.forget();
  }

  /** Makes those that are missing; undefined when there are none. The bridges that they need must be there. */
  async create(network: TaskNetwork): Promise<MadeDevices | undefined> {
    const { taskId, overlays } = network.local;
    const { indexes, network: host } = await this.#applier.observation();
    const made = await network.createDevices(new Set(host.links.keys()), (pair) => {
      const overlay = overlays.find((_, position) => portOf(taskId, position) === pair.hostDevice);
      return overlay === undefined ? undefined : indexes.get(bridgeOf(overlay.networkId));
    });
    if (made === undefined) return undefined;
    this.#desired.devicesMade(taskId);
    const withIpv6 = network.interfaces.filter(routesIpv6).map(({ hostDevice }) => hostDevice);
    const isMade = (name: string) => made.hostEnds.some((link) => link.name === name);
    this.#applier.devicesMade(made.hostEnds, withIpv6.filter(isMade));
    return made;
  }

  async remove(taskId: string): Promise<void> {
    const { network } = await this.#applier.observation();
    const names = [routedOf(taskId), ...Array.from({ length: 10 }, (_, position) => portOf(taskId, position))];
    const found = names.filter((name) => network.links.has(name));
    await converse(found.map(rtnetlink.deleteLink), this.#netns);
    if (found.length > 0) this.#applier.forgetLinks();
  }
}
