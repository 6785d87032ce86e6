import { createAllocator, ingressNetwork } from "@starling/allocator";
import { Annotations, Cluster, ClusterSpec, durationOfMs, Node, NodeSpec, OrchestrationConfig } from "@starling/api";
import { FakeClock, Metrics, nullLogger, type Random, seededRandom } from "@starling/base";
import { createDispatcher, type DispatcherServer } from "@starling/dispatcher";
import { createOrchestrator } from "@starling/orchestrator";
import { createScheduler } from "@starling/scheduler";
import { MemoryStore } from "@starling/store";
import { SimHost } from "./agent.ts";
import { checkAlways, checkAtRest } from "./checks.ts";
import { Faults } from "./faults.ts";
import { Workload } from "./workload.ts";

export interface WorldOptions {
  readonly seed: number;
  readonly hosts: number;
  readonly services: number;
  /** Replicas of a service at most. */
  readonly replicasMax: number;
  /** Steps of a quarter of a second in which things happen. */
  readonly steps: number;
}

export interface Outcome {
  readonly seed: number;
  /** What does not hold; empty when all does. */
  readonly violations: readonly string[];
  /** What happened, oldest first. */
  readonly trace: readonly string[];
  readonly tasks: number;
}

const stepMs = 250;
/** Longer than any delay, deadline, back-off or grace in the world. */
const restMs = 15 * 60_000;
const restStepMs = 10_000;

/**
 * The production leader's loops and dispatcher on one store under a fake clock, with simulated agents, while hosts die and
 * return, leaders change and specs change at random. Then everything mends, and tasks must come to equal the specs.
 */
export async function runWorld(options: WorldOptions): Promise<Outcome> {
  const random = seededRandom(options.seed);
  const world = new World(options, random);
  await world.begin();
  const violations = await world.play();
  await world.end();
  return { seed: options.seed, violations, trace: world.trace, tasks: world.taskCount };
}

class World {
  readonly #options: WorldOptions;
  readonly #clock = new FakeClock();
  readonly #store = new MemoryStore({ clock: this.#clock });
  readonly #random: Random;
  readonly #hosts: SimHost[] = [];
  readonly #workload: Workload;
  readonly #faults: Faults;
  readonly trace: string[] = [];
  #dispatcher: DispatcherServer | undefined;
  #leading: { readonly stop: AbortController; readonly loops: Promise<unknown> } | undefined;

  constructor(options: WorldOptions, random: Random) {
    this.#options = options;
    this.#random = random;
    for (let i = 0; i < options.hosts; i++) {
      const dispatcher = () => this.#dispatcher;
      this.#hosts.push(new SimHost({ id: `n${i}`, clock: this.#clock, random, dispatcher }));
    }
    this.#workload = new Workload({ store: this.#store, random, ...options });
    this.#faults = new Faults({
      store: this.#store,
      hosts: this.#hosts,
      clock: this.#clock,
      random,
      changeLeader: () => this.#changeLeader(),
    });
  }

  get taskCount(): number {
    return this.#store.view((tx) => tx.tasks.find()).length;
  }

  async begin(): Promise<void> {
    await this.#store.update((tx) => {
      const annotations = Annotations.create({ name: "default" });
      const orchestration = OrchestrationConfig.create({ taskHistoryRetentionLimit: 2 });
      const spec = ClusterSpec.create({ annotations, orchestration });
      spec satisfies ClusterSpec;
      tx.clusters.create(
        Cluster.create({
          id: "c",
          spec: { ...spec, dispatcher: { heartbeatPeriod: durationOfMs(1_000) } },
          defaultAddressPool: ["10.0.0.0/8"],
          subnetSize: 16,
        }),
      );
      tx.networks.create(ingressNetwork("ingress"));
      for (const { id } of this.#hosts) {
        const labels = { zone: `z${Number(id.slice(1)) % 3}` };
        tx.nodes.create(Node.create({ id, spec: NodeSpec.create({ annotations: Annotations.create({ labels }) }) }));
      }
    });
    this.#lead();
    for (const host of this.#hosts) host.boot();
    await this.#clock.advance(2_000);
  }

  async play(): Promise<readonly string[]> {
    for (let step = 0; step < this.#options.steps; step++) {
      this.#note(await this.#workload.step());
      this.#note(await this.#faults.step());
      await this.#clock.advance(stepMs);
      const violations = this.#violations(checkAlways);
      if (violations.length > 0) return violations;
    }
    this.#note(await this.#faults.mend());
    let left: readonly string[] = ["nothing was looked at"];
    for (let passed = 0; passed < restMs && left.length > 0; passed += restStepMs) {
      await this.#clock.advance(restStepMs);
      const violations = this.#violations(checkAlways);
      if (violations.length > 0) return violations;
      left = this.#violations(checkAtRest);
    }
    return left;
  }

  async end(): Promise<void> {
    for (const host of this.#hosts) host.endSwarmd();
    await this.#stopLeading();
  }

  #violations(check: typeof checkAlways): readonly string[] {
    return this.#store.view((tx) => check({ tx, hosts: this.#hosts, nowMs: this.#clock.now() }));
  }

  #lead(): void {
    const stop = new AbortController();
    const shared = { store: this.#store, clock: this.#clock, random: this.#random, log: nullLogger };
    const dispatcher = createDispatcher({
      ...shared,
      clusterId: "c",
      ownNodeId: "manager",
      peers: { current: () => [], subscribe: () => () => undefined },
      probeHost: async (address) => this.#hosts.some((host) => host.id === address && host.answersProbes),
    });
    const scheduler = createScheduler({ ...shared, metrics: new Metrics() });
    const loops = [
      ...createOrchestrator({ ...shared, newId: () => this.#newId() }),
      createAllocator(shared),
      scheduler,
      dispatcher,
    ];
    this.#leading = { stop, loops: Promise.all(loops.map((loop) => loop.run(stop.signal))) };
    this.#dispatcher = dispatcher;
  }

  async #stopLeading(): Promise<void> {
    this.#dispatcher = undefined;
    this.#leading?.stop.abort();
    // Some of them end with a timer.
    let ended = false;
    void this.#leading?.loops.then(() => {
      ended = true;
    });
    while (this.#leading !== undefined && !ended) await this.#clock.advance(10);
    this.#leading = undefined;
  }

  async #changeLeader(): Promise<void> {
    await this.#stopLeading();
    await this.#clock.advance(Math.floor(this.#random() * 1_500));
    this.#lead();
  }

  #newId(): string {
    const digits = () =>
      Math.floor(this.#random() * 2 ** 40)
        .toString(36)
        .padStart(8, "0");
    return `${digits()}${digits()}${digits()}`;
  }

  #note(what: string | undefined): void {
    if (what !== undefined) this.trace.push(`${((this.#clock.now() - 1.7e12) / 1000).toFixed(2)} s: ${what}`);
  }
}
