import { createAllocator } from "@starling/allocator";
import { WeightedPeer } from "@starling/api";
import { type FakeClock, Metrics, nullLogger, type Random, type SwarmError } from "@starling/base";
import { createDispatcher, type DispatcherServer } from "@starling/dispatcher";
import { createOrchestrator } from "@starling/orchestrator";
import { createScheduler } from "@starling/scheduler";
import type { MemoryStore } from "@starling/store";
import { Leadership, type Loop } from "../../../services/manager/leadership.ts";
import type { Group, Member } from "./group.ts";
import type { Station } from "./mutants.ts";

export interface ManagerOptions {
  readonly group: Group;
  readonly member: Member;
  readonly clock: FakeClock;
  readonly random: Random;
  readonly newId: () => string;
  readonly probeHost: (address: string) => Promise<boolean>;
  /** The store as a loop sees it: its own, unless a mutant changes what it says. */
  readonly storeOf: (station: Station, store: MemoryStore) => MemoryStore;
  /** A loop has failed for good, or does not end. */
  readonly onBroken: (error: SwarmError) => void;
}

/** A manager: its store, and production's loops, run by production's `Leadership` while it leads. */
export class SimManager {
  readonly member: Member;
  readonly #options: ManagerOptions;
  readonly #leadership: Leadership;
  #dispatcher: DispatcherServer | undefined;

  constructor(options: ManagerOptions) {
    this.#options = options;
    this.member = options.member;
    const { clock, onBroken } = options;
    this.#leadership = new Leadership({
      prepare: async () => undefined,
      loops: () => this.#loops(),
      onBroken,
      clock,
      log: nullLogger,
    });
  }

  /** What agents talk to; undefined while it does not serve. */
  get dispatcher(): DispatcherServer | undefined {
    return this.#leadership.leading ? this.#dispatcher : undefined;
  }

  lead(): void {
    this.#options.group.elect(this.member);
    this.#leadership.lead();
  }

  follow(): void {
    this.#leadership.follow();
    this.#options.group.depose(this.member);
  }

  /** Resolves, as the clock goes on, when its loops have ended. */
  stop(): Promise<void> {
    return this.#leadership.stop();
  }

  #loops(): readonly (readonly [string, Loop])[] {
    const { clock, random, newId, probeHost, storeOf, member } = this.#options;
    const of = (station: Station) => {
      const store = storeOf(station, member.store);
      return { store, clock, random, log: nullLogger };
    };
    const peer = WeightedPeer.create({ peer: { nodeId: member.name, addr: `${member.name}:4242` }, weight: 10 });
    const dispatcher = createDispatcher({
      ...of("dispatcher"),
      clusterId: "c",
      ownNodeId: member.name,
      peers: { current: () => [peer], subscribe: () => () => undefined },
      probeHost,
    });
    this.#dispatcher = dispatcher;
    const orchestrator = createOrchestrator({ ...of("orchestrator"), newId });
    return [
      ...orchestrator.map((loop, i) => [`orchestrator-${i}`, loop] as const),
      ["allocator", createAllocator(of("allocator"))],
      ["scheduler", createScheduler({ ...of("scheduler"), metrics: new Metrics() })],
      ["dispatcher", dispatcher],
    ];
  }
}
