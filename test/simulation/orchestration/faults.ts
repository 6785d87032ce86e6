import { NodeSpec_Availability } from "@starling/api";
import type { FakeClock, Random } from "@starling/base";
import type { MemoryStore } from "@starling/store";
import type { SimHost } from "./agent.ts";

/** How often something strikes: once in so many steps of the world. */
const strikesEvery = 6;

/** What strikes hosts and leaders. */
export class Faults {
  readonly #store: MemoryStore;
  readonly #hosts: readonly SimHost[];
  readonly #clock: FakeClock;
  readonly #random: Random;
  readonly #changeLeader: () => Promise<void>;

  constructor(options: {
    readonly store: MemoryStore;
    readonly hosts: readonly SimHost[];
    readonly clock: FakeClock;
    readonly random: Random;
    readonly changeLeader: () => Promise<void>;
  }) {
    this.#store = options.store;
    this.#hosts = options.hosts;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#changeLeader = options.changeLeader;
  }

  /** Perhaps something strikes; tells what. */
  async step(): Promise<string | undefined> {
    if (this.#random() * strikesEvery >= 1) return undefined;
    if (this.#random() < 0.08) {
      await this.#changeLeader();
      return "another leader";
    }
    const host = this.#hosts[Math.floor(this.#random() * this.#hosts.length)]!;
    host.troubledAt = this.#clock.now();
    if (!host.powered) {
      host.boot();
      return `${host.id} boots`;
    }
    if (!host.reachable) {
      host.reachable = true;
      return `${host.id} is reachable again`;
    }
    if (!host.swarmdRuns) {
      host.startSwarmd();
      return `swarmd starts on ${host.id}`;
    }
    const kind = Math.floor(this.#random() * 5);
    switch (kind) {
      case 0:
        host.powerCut();
        return `${host.id} loses its power`;
      case 1:
        host.endSwarmd();
        return `swarmd is killed on ${host.id}`;
      case 2:
        host.stopSwarmd();
        return `swarmd is stopped on ${host.id}`;
      case 3:
        host.reachable = false;
        return `${host.id} is cut off`;
      default:
        return await this.#switchAvailability(host.id);
    }
  }

  /** Everything works from now on. */
  async mend(): Promise<string> {
    for (const host of this.#hosts) {
      host.reachable = true;
      if (!host.powered) host.boot();
      else host.startSwarmd();
      await this.#setAvailability(host.id, NodeSpec_Availability.ACTIVE);
    }
    return "everything mends";
  }

  async #switchAvailability(nodeId: string): Promise<string> {
    const present = this.#store.view((tx) => tx.nodes.get(nodeId))!.spec.availability;
    const { ACTIVE, PAUSE, DRAIN } = NodeSpec_Availability;
    const next = present === ACTIVE ? (this.#random() < 0.5 ? PAUSE : DRAIN) : ACTIVE;
    await this.#setAvailability(nodeId, next);
    return `${nodeId} becomes ${next === ACTIVE ? "active" : next === PAUSE ? "paused" : "drained"}`;
  }

  async #setAvailability(nodeId: string, availability: NodeSpec_Availability): Promise<void> {
    await this.#store.update((tx) => {
      const node = tx.nodes.get(nodeId)!;
      tx.nodes.update({ ...node, spec: { ...node.spec, availability } });
    });
  }
}
