import { rmSync } from "node:fs";
import { type Host, type Programs, Swarm, type TestCluster, until } from "../../cluster/index.ts";
import type { PushedImages } from "../../images/index.ts";
import { drive } from "./driver-client.ts";

/** Sleeps, and ends at once when told to, as process 1 too. */
export const idleCommand = ["sh", "-c", 'trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done'];

/** Epoch milliseconds with fractions, on the clock that all hosts share. */
export const now = () => performance.timeOrigin + performance.now();

export type NodeRole = "manager" | "worker";

export function roleName(host: Host): NodeRole {
  return host.name.startsWith("m") ? "manager" : "worker";
}

/** The hosts, the swarm on them, and what every measurement does with it. */
export class Stage {
  readonly cluster: TestCluster;
  readonly images: PushedImages;
  /** How often what can be repeated is, and what has to be lived through. */
  readonly runs: number;
  readonly failures: number;
  readonly #programs: Programs;
  #swarm: Swarm;

  constructor(options: {
    readonly cluster: TestCluster;
    readonly images: PushedImages;
    readonly programs: Programs;
    readonly runs: number;
    readonly failures: number;
  }) {
    this.cluster = options.cluster;
    this.images = options.images;
    this.runs = options.runs;
    this.failures = options.failures;
    this.#programs = options.programs;
    this.#swarm = new Swarm(options.cluster, options.programs);
  }

  get swarm(): Swarm {
    return this.#swarm;
  }

  host(name: string): Host {
    return this.cluster.host(name);
  }

  members(): readonly Host[] {
    return this.#swarm.members();
  }

  /** The swarm of five. */
  async begin(): Promise<void> {
    for (const host of this.members()) await this.renew(host);
    this.#swarm = new Swarm(this.cluster, this.#programs);
    await this.#swarm.start();
  }

  /** Every image on every node. */
  async warmUp(): Promise<void> {
    for (const image of [this.images.busybox, this.images.tools]) {
      await this.create("warm", 10, image.reference);
      await this.remove("warm");
    }
  }

  /** The leader's host: a figure of the leader's work has no hop to another manager in it. */
  async leader(): Promise<Host> {
    return until("there is a leader", () => this.#swarm.leader());
  }

  otherManager(than: Host): Host {
    return this.members().find((host) => roleName(host) === "manager" && host !== than)!;
  }

  /** A host without any state of before. */
  async renew(host: Host): Promise<void> {
    await host.kill();
    rmSync(host.stateFolder, { recursive: true, force: true });
    await host.start();
  }

  /** Resolves when all nodes are ready as a manager other than `host` sees it. */
  async settled(host: Host): Promise<void> {
    await this.#swarm.ready(this.members(), { on: this.otherManager(host) });
  }

  async create(
    name: string,
    replicas: number,
    image = this.images.busybox.reference,
  ): Promise<{ readonly callMs: number; readonly runningMs: number }> {
    return drive(await this.leader(), "create", name, image, String(replicas), ...idleCommand);
  }

  /** Resolves when its containers are gone. */
  async remove(name: string): Promise<void> {
    await drive(await this.leader(), "remove", name);
  }
}
