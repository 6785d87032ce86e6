import { ingressNetwork } from "@starling/allocator";
import {
  Annotations,
  Cluster,
  ClusterSpec,
  Driver,
  durationOfMs,
  Network,
  NetworkSpec,
  Node,
  NodeSpec,
  NodeSpec_Availability,
  OrchestrationConfig,
  rebalanceLabels,
} from "@starling/api";
import { FakeClock, type Random, SwarmError, seededRandom } from "@starling/base";
import type { WriteTx } from "@starling/store";
import { SimHost } from "./agent.ts";
import { availabilityOf, Faults, type LeaderFault } from "./faults.ts";
import { Group } from "./group.ts";
import { lyingStore } from "./lying-store.ts";
import { SimManager } from "./manager.ts";
import type { Mutant } from "./mutants.ts";
import { checkAtRest } from "./oracle.ts";
import { memoryUnit, zones } from "./specs.ts";
import { Watchdog } from "./watchdog.ts";
import { type Change, servicesOf, Workload } from "./workload.ts";

export interface WorldOptions {
  readonly seed: number;
  /** Steps of a quarter of a second in which things happen. */
  readonly steps: number;
  readonly nodes: number;
  /** So many there are about, once services are made. */
  readonly tasks: number;
  readonly managers?: number;
  readonly mutant?: Mutant | undefined;
  /** Told now and then how far a large world is. */
  readonly onProgress?: (text: string) => void;
}

export interface Outcome {
  readonly seed: number;
  /** What does not hold; empty when all does. */
  readonly violations: readonly string[];
  /** What happened, oldest first. */
  readonly trace: readonly string[];
  readonly counts: {
    readonly tasks: number;
    readonly tasksMade: number;
    readonly commits: number;
    readonly leaders: number;
    readonly changes: number;
    readonly refused: number;
    readonly virtualMs: number;
  };
}

const stepMs = 250;
/** Longer than any delay, deadline, back-off or grace in the world. */
const restMs = 15 * 60_000;
const restStepMs = 10_000;
/** A world of more tasks is large: it says how far it is, and followers are brought up by snapshots. */
const largeTasks = 5_000;
/** Virtual time between two words of progress. */
const progressMs = 2_000;
const historyLimit = 2;
const networkIds = ["net-a", "net-b"];

/**
 * Production's loops of several managers over one log, under a fake clock, with simulated agents, while hosts die and return,
 * leaders change and specs change at random. Then everything mends, and tasks must come to equal the specs.
 */
export async function runWorld(options: WorldOptions): Promise<Outcome> {
  const world = new World(options);
  const stop = new AbortController();
  const watching = world.watchdog.run(stop.signal);
  await world.begin();
  const violations = await world.play();
  const counts = world.counts();
  await world.end();
  stop.abort();
  await watching;
  return { seed: options.seed, violations: violations.slice(0, 10), trace: world.trace, counts };
}

class World {
  readonly #options: WorldOptions;
  readonly #clock = new FakeClock();
  /** Draws of the group, agents and loops; faults and workload have their own, so that a plan stays when these change. */
  readonly #random: Random;
  readonly #group: Group;
  readonly #managers: readonly SimManager[];
  readonly #workload: Workload;
  readonly #faults: Faults;
  readonly watchdog: Watchdog;
  readonly trace: string[] = [];
  readonly #broken: string[] = [];
  #hosts: SimHost[] = [];
  #hostsMade = 0;
  #leadingNow: SimManager | undefined;
  #electing = false;
  #leaders = 0;
  #changes = 0;
  #refused = 0;

  constructor(options: WorldOptions) {
    this.#options = options;
    const { seed, tasks, nodes } = options;
    this.#random = seededRandom(seed);
    const random = this.#random;
    const clock = this.#clock;
    this.#group = new Group({ count: options.managers ?? 3, clock, random, lagging: tasks > largeTasks });
    this.watchdog = new Watchdog({
      store: this.#group.observer,
      now: () => clock.now(),
      note: (what) => this.#note(what),
    });
    this.#managers = this.#group.members.map(
      (member) =>
        new SimManager({
          group: this.#group,
          member,
          clock,
          random,
          newId: () => this.#newId(),
          probeHost: async (address) => this.#hosts.some((host) => host.id === address && host.answersProbes),
          storeOf: (station, store) =>
            options.mutant?.station === station ? lyingStore(store, options.mutant.lie) : store,
          onBroken: (error) => this.#broken.push(`a loop of ${member.name} has failed: ${error.stack}`),
        }),
    );
    const services = Math.max(6, Math.min(200, Math.round(tasks / 12)));
    const replicasMax = Math.ceil((2 * tasks) / services);
    const planned = seededRandom(seed + 0x5eed);
    this.#workload = new Workload({ random: planned, services, replicasMax, networks: networkIds });
    const node = (id: string) => this.#group.observer.view((tx) => tx.nodes.get(id));
    this.#faults = new Faults({ random: planned, clock, node });
    for (let i = 0; i < nodes; i++) this.#join();
  }

  counts(): Outcome["counts"] {
    const tasks = this.#group.observer.view((tx) => tx.tasks.size);
    return {
      tasks,
      tasksMade: this.watchdog.tasksMade,
      commits: this.watchdog.commits,
      leaders: this.#leaders,
      changes: this.#changes,
      refused: this.#refused,
      virtualMs: this.#clock.now() - 1.7e12,
    };
  }

  async begin(): Promise<void> {
    if (this.#options.tasks > largeTasks) this.#tellProgress();
    this.#lead(this.#managers[0]!);
    await this.#settled({
      what: "the cluster is made",
      write: (store) => store.update((tx) => this.#firstObjects(tx)),
    });
    for (const host of this.#hosts) await this.#settled(this.#joined(host));
    for (const host of this.#hosts) host.boot();
    await this.#clock.advance(2_000);
    for (const change of this.#workload.begin(this.#options.tasks)) this.#attempt(change);
    await this.#clock.advance(5_000);
  }

  async play(): Promise<readonly string[]> {
    for (let step = 0; step < this.#options.steps; step++) {
      const change = this.#workload.step(servicesOf(this.#group.observer));
      if (change) this.#attempt(change);
      this.#note(
        this.#faults.step(this.#hosts, {
          change: (each) => void this.#write(each),
          strikeLeader: (fault) => void this.#strikeLeader(fault),
          replace: (host, removal) => void this.#replace(host, removal),
        }),
      );
      await this.#clock.advance(stepMs);
      if (this.#violations().length > 0) return this.#violations();
    }
    await this.#mend();
    let left: readonly string[] = ["nothing was looked at"];
    for (let passed = 0; passed < restMs && left.length > 0; passed += restStepMs) {
      await this.#clock.advance(restStepMs);
      if (this.#violations().length > 0) return this.#violations();
      // An update that fails now, for what happened before, stops once more.
      if (await this.#mendServices()) continue;
      left = this.#group.observer.view((tx) => checkAtRest({ tx, hosts: this.#hosts, historyLimit }));
    }
    return left;
  }

  #tellProgress(): void {
    const { tasks, tasksMade, commits, leaders } = this.counts();
    const text = `${tasks} of ${tasksMade} tasks, ${commits} commits, ${leaders} leaders, ${this.trace.length} events`;
    this.#options.onProgress?.(`${((this.#clock.now() - 1.7e12) / 1000).toFixed(0)} s: ${text}`);
    this.#clock.setTimer(progressMs, () => this.#tellProgress());
  }

  async end(): Promise<void> {
    for (const host of this.#hosts) host.endSwarmd();
    let ended = false;
    void Promise.all(this.#managers.map((manager) => manager.stop())).then(() => {
      ended = true;
    });
    while (!ended) await this.#clock.advance(10);
  }

  #violations(): readonly string[] {
    return [...this.#broken, ...this.watchdog.violations];
  }

  /** A user's change at the leader, unless there is none just now. Whether it was written stays open. */
  #attempt(change: Change): void {
    this.#note(change.what);
    void this.#write(change);
  }

  async #write({ write }: Change): Promise<boolean> {
    const leader = this.#group.leader;
    try {
      if (leader === undefined) throw new SwarmError("Unavailable", "no leader");
      await write(leader.store);
      this.#changes++;
      return true;
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      this.#refused++;
      if (error.code === "Internal") this.#broken.push(`a user's change fails: ${error.stack}`);
      return false;
    }
  }

  /** Tried until it is written. */
  async #settled(change: Change): Promise<void> {
    for (let done = false; !done; ) {
      void this.#write(change).then((written) => {
        done = written;
      });
      await this.#clock.advance(50);
    }
  }

  /** Everything works from now on. */
  async #mend(): Promise<void> {
    this.#note("everything mends");
    for (const host of this.#hosts) {
      host.reachable = true;
      if (!host.powered) host.boot();
      else host.startSwarmd();
    }
    while (this.#electing) await this.#clock.advance(100);
    for (const { id } of this.#hosts) await this.#settled(availabilityOf(id, NodeSpec_Availability.ACTIVE));
    await this.#mendServices();
  }

  async #mendServices(): Promise<boolean> {
    const changes = [...this.#workload.mend(servicesOf(this.#group.observer))];
    for (const change of changes) {
      this.#note(change.what);
      await this.#settled(change);
    }
    return changes.length > 0;
  }

  #lead(manager: SimManager): void {
    this.#leadingNow = manager;
    this.#leaders++;
    manager.lead();
  }

  /** The leader is lost in some way, and another one is elected a while later. One that is cut off learns of it last. */
  async #strikeLeader(fault: LeaderFault): Promise<void> {
    const old = this.#leadingNow;
    if (old === undefined || this.#electing) return;
    this.#electing = true;
    const others = this.#managers.filter((manager) => manager !== old);
    const next = others[Math.floor(this.#random() * others.length)]!;
    const wait = (most: number) => this.#clock.sleep(20 + Math.floor(this.#random() * most));
    if (fault === "is cut off") {
      old.member.cut = true;
      await wait(1_500);
      this.#lead(next);
      await wait(1_000);
      old.follow();
    } else {
      old.follow();
      this.#leadingNow = undefined;
      await wait(fault === "hands over" ? 100 : 1_500);
      this.#lead(next);
      if (fault === "is killed") await old.member.restart(next.member);
    }
    this.#electing = false;
  }

  async #replace(host: SimHost, removal: Change): Promise<void> {
    if (!(await this.#write(removal))) return;
    this.#note(removal.what);
    this.#hosts = this.#hosts.filter((other) => other !== host);
    const fresh = this.#join();
    fresh.troubledAt = this.#clock.now();
    if (await this.#write(this.#joined(fresh))) fresh.boot();
    else this.#hosts = this.#hosts.filter((other) => other !== fresh);
  }

  #join(): SimHost {
    const host = new SimHost({
      id: `n${this.#hostsMade++}`,
      clock: this.#clock,
      random: this.#random,
      dispatcher: () => this.#leadingNow?.dispatcher,
      memoryBytes: this.#memoryBytes(),
      onContainer: this.watchdog.onContainer,
    });
    this.#hosts.push(host);
    return host;
  }

  /** Room for twice what the tasks reserve on average, on nodes of different sizes. */
  #memoryBytes(): number {
    const { tasks, nodes } = this.#options;
    return Math.ceil((tasks / nodes) * 9 * (0.7 + 0.6 * this.#random())) * memoryUnit;
  }

  #joined({ id }: SimHost): Change {
    const labels = { zone: `z${Number(id.slice(1)) % zones}` };
    const node = Node.create({ id, spec: NodeSpec.create({ annotations: Annotations.create({ labels }) }) });
    const write: Change["write"] = (store) => store.update((tx) => void (tx.nodes.get(id) ?? tx.nodes.create(node)));
    return { what: `${id} joins`, write };
  }

  /** In every other world what runs is moved to nodes that come or come back, unless a service says otherwise. */
  #clusterLabels(): Readonly<Record<string, string>> {
    const { rebalance, rate, settle } = rebalanceLabels;
    return { [rebalance]: this.#options.seed % 2 === 0 ? "on" : "off", [rate]: "240", [settle]: "3s" };
  }

  #firstObjects(tx: WriteTx): void {
    const spec = ClusterSpec.create({
      annotations: Annotations.create({ name: "default", labels: this.#clusterLabels() }),
      orchestration: OrchestrationConfig.create({ taskHistoryRetentionLimit: historyLimit }),
    });
    const heartbeatPeriod = durationOfMs(this.#options.nodes > 200 ? 5_000 : 1_000);
    tx.clusters.create(
      Cluster.create({
        id: "c",
        spec: { ...spec, dispatcher: { heartbeatPeriod } },
        defaultAddressPool: ["10.0.0.0/8"],
        subnetSize: 16,
      }),
    );
    tx.networks.create(ingressNetwork("ingress"));
    const driverConfig = Driver.create({ name: "overlay" });
    for (const id of networkIds) {
      const annotations = Annotations.create({ name: id });
      tx.networks.create(Network.create({ id, spec: NetworkSpec.create({ annotations, driverConfig }) }));
    }
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
