import { type Node, NodeSpec_Availability, NodeStatus_State } from "@starling/api";
import { type FakeClock, nullLogger, type Random } from "@starling/base";
import type { MemoryStore } from "@starling/store";
import { nodeHandlers } from "../../../services/control-api/node.ts";
import type { SimHost } from "./agent.ts";
import { zones } from "./specs.ts";
import type { Change } from "./workload.ts";

/** How often something strikes: once in so many steps of the world. */
const strikesEvery = 5;

/** What becomes of a leader: it hands over, its process dies, or the others are cut off from it. */
export const leaderFaults = ["hands over", "is killed", "is cut off"] as const;
export type LeaderFault = (typeof leaderFaults)[number];

const { ACTIVE, PAUSE, DRAIN } = NodeSpec_Availability;

/** What strikes hosts and leaders, and what operators do to nodes. */
export class Faults {
  readonly #random: Random;
  readonly #clock: FakeClock;
  readonly #node: (id: string) => Node | undefined;

  constructor(options: {
    readonly random: Random;
    readonly clock: FakeClock;
    readonly node: (id: string) => Node | undefined;
  }) {
    this.#random = options.random;
    this.#clock = options.clock;
    this.#node = options.node;
  }

  /** Perhaps something strikes. `hosts` are those in the cluster; `change` writes, `strikeLeader` and `replace` do the rest. */
  step(
    hosts: readonly SimHost[],
    act: {
      readonly change: (change: Change) => void;
      readonly strikeLeader: (fault: LeaderFault) => void;
      /** The node is removed, its host leaves, and another one comes. */
      readonly replace: (host: SimHost, removal: Change) => void;
    },
  ): string | undefined {
    if (this.#random() * strikesEvery >= 1) return undefined;
    if (this.#random() < 0.1) {
      const fault = leaderFaults[this.#upTo(leaderFaults.length)]!;
      act.strikeLeader(fault);
      return `the leader ${fault}`;
    }
    const host = hosts[this.#upTo(hosts.length)]!;
    host.troubledAt = this.#clock.now();
    if (this.#random() < 0.5) {
      const better = this.#mend(host, act);
      if (better !== undefined) return better;
    }
    const what = this.#upTo(7);
    switch (what) {
      case 0:
        if (host.powered) host.powerCut();
        return `${host.id} loses its power`;
      case 1:
        host.endSwarmd();
        return `swarmd is killed on ${host.id}`;
      case 2:
        if (host.swarmdRuns) host.stopSwarmd();
        return `swarmd is stopped on ${host.id}`;
      case 3:
        host.reachable = false;
        return `${host.id} is cut off`;
      case 4:
      case 5:
        return this.#note(act.change, this.#relabelled(host.id));
      default:
        return this.#note(act.change, this.#switched(host.id));
    }
  }

  /** What is broken at the host works again, or the host is replaced; undefined when nothing is. */
  #mend(host: SimHost, act: Parameters<Faults["step"]>[1]): string | undefined {
    if (!host.powered) {
      if (this.#node(host.id)?.status.state === NodeStatus_State.DOWN && this.#random() < 0.3) {
        act.replace(host, removal(host.id, this.#clock));
        return `${host.id} is to be replaced`;
      }
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
    return undefined;
  }

  #note(write: (change: Change) => void, change: Change): string {
    write(change);
    return change.what;
  }

  #switched(nodeId: string): Change {
    const present = this.#node(nodeId)?.spec.availability;
    const next = present === ACTIVE ? (this.#random() < 0.5 ? PAUSE : DRAIN) : ACTIVE;
    return availabilityOf(nodeId, next);
  }

  #relabelled(nodeId: string): Change {
    const zone = `z${this.#upTo(zones)}`;
    return nodeChange(nodeId, `is in ${zone} now`, (node) => {
      const annotations = { ...node.spec.annotations, labels: { ...node.spec.annotations.labels, zone } };
      return { ...node, spec: { ...node.spec, annotations } };
    });
  }

  #upTo(count: number): number {
    return Math.floor(this.#random() * count);
  }
}

export function availabilityOf(nodeId: string, availability: NodeSpec_Availability): Change {
  const name = availability === ACTIVE ? "active" : availability === PAUSE ? "paused" : "drained";
  return nodeChange(nodeId, `becomes ${name}`, (node) => ({ ...node, spec: { ...node.spec, availability } }));
}

function nodeChange(nodeId: string, what: string, change: (node: Node) => Node): Change {
  return {
    what: `${nodeId} ${what}`,
    write: (store) =>
      store.update((tx) => {
        const node = tx.nodes.get(nodeId);
        if (node !== undefined) tx.nodes.update(change(node));
      }),
  };
}

/** By production's handler. */
function removal(nodeId: string, clock: FakeClock): Change {
  return {
    what: `${nodeId} is removed`,
    write: (store: MemoryStore) =>
      nodeHandlers({ store, clock, log: nullLogger } as Parameters<typeof nodeHandlers>[0]).removeNode(
        { nodeId, force: false },
        undefined as never,
      ),
  };
}
