import { existsSync, readFileSync } from "node:fs";
import { expect, onTestFailed } from "vitest";
import { type ExecOptions, type Host, type Programs, Swarm, TestCluster, until } from "../cluster/index.ts";
import { type ImageName, type PushedImages, startRegistry } from "../images/index.ts";
import { NetworkOracle } from "./network-oracle.ts";

/** One row of `swarmctl service ps --format json`. */
export interface TaskRow {
  readonly id: string;
  readonly name: string;
  readonly image: string;
  readonly node: string;
  readonly slot: number;
  readonly desiredState: string;
  readonly currentState: string;
  readonly message: string;
  readonly error: string;
  readonly exitCode: number | null;
}

type Ctl = ExecOptions & { readonly on?: Host };

/**
 * What the tests of one file play on: hosts with a swarm, and a registry on host `reg`, made once per file. The words for
 * asking are a user's: swarmctl's, and what its tables show.
 */
export class Stage {
  readonly cluster: TestCluster;
  readonly swarm: Swarm;
  readonly #images: PushedImages;

  private constructor(cluster: TestCluster, images: PushedImages, programs: Programs) {
    this.cluster = cluster;
    this.swarm = new Swarm(cluster, programs);
    this.#images = images;
  }

  /** Hosts `m…` and `w…` become nodes (`begin` may do it otherwise); others stay bare. `reg` is added. */
  static async open(
    name: string,
    hosts: readonly string[],
    programs: Programs = "sources",
    begin = (swarm: Swarm): Promise<void> => swarm.start(),
  ): Promise<Stage> {
    const cluster = await TestCluster.create({ name: `e2e-${name}-${process.pid}`, hosts: ["reg", ...hosts] });
    try {
      const { images } = await startRegistry(cluster.host("reg"));
      const stage = new Stage(cluster, images, programs);
      await begin(stage.swarm);
      return stage;
    } catch (error) {
      await cluster.destroy();
      throw error;
    }
  }

  /**
   * Takes all down, after a look whether the networks of all ready nodes are as the store says, whatever was played: throws when they
   * are not so within 20 s. `networks`: "unseen" where no manager is left to ask.
   */
  async close({ networks = "seen" }: { readonly networks?: "seen" | "unseen" } = {}): Promise<void> {
    try {
      if (networks === "seen") await new NetworkOracle(this.swarm).agrees({ timeoutMs: 20_000 });
    } finally {
      await this.cluster.destroy();
    }
  }

  host(name: string): Host {
    return this.cluster.host(name);
  }

  /** Reference of an image in the registry, by its tag. */
  image(name: ImageName): string {
    return this.#images[name].reference;
  }

  /** What swarmctl prints; throws with its error line when it fails. */
  ctl(args: readonly string[], options: Ctl = {}): Promise<string> {
    return this.swarm.mustCtl(args, options);
  }

  json<T>(args: readonly string[], options: Ctl = {}): Promise<T> {
    return this.swarm.json<T>(args, options);
  }

  /** The error of a command that must be refused: one line on standard error and nothing of a stack. */
  async refusal(args: readonly string[], options: Ctl = {}): Promise<string> {
    const { code, stdout, stderr } = await this.swarm.ctl(args, options);
    expect({ code, stdout }, `swarmctl ${args.join(" ")}: ${stderr}`).toEqual({ code: 1, stdout: "" });
    expect(stderr.trimEnd().split("\n"), "an error of one line").toHaveLength(1);
    return stderr.trim();
  }

  /** `service create` with the flags; returns when the service is there, not when it runs. */
  async create(name: string, flags: readonly string[], image: string, ...command: string[]): Promise<void> {
    await this.ctl(["service", "create", "--detach", "--name", name, ...flags, image, ...command]);
  }

  /** Every task of a service, history too, newest of each slot first. */
  tasks(service: string, options: Ctl = {}): Promise<readonly TaskRow[]> {
    return this.json<readonly TaskRow[]>(["service", "ps", service], options);
  }

  /** Resolves with a service's wanted tasks when there are `count` and all run. */
  async running(service: string, count: number, options: Ctl = {}): Promise<readonly TaskRow[]> {
    return await this.#until(`${count} tasks of ${service} run`, service, options, (rows) => {
      const wanted = rows.filter((row) => row.desiredState === "RUNNING");
      return wanted.length === count && wanted.every((row) => row.currentState === "RUNNING") ? wanted : undefined;
    });
  }

  /** Resolves with the first of a service's tasks that `matches`. */
  async task(service: string, what: string, matches: (row: TaskRow) => boolean, options: Ctl = {}): Promise<TaskRow> {
    return await this.#until(`a task of ${service} ${what}`, service, options, (rows) => rows.find(matches));
  }

  /** Output of a service whose one task has ended. */
  async outputOf(service: string): Promise<string> {
    await this.task(service, "has ended", (row) => ["COMPLETE", "FAILED", "REJECTED"].includes(row.currentState));
    return await this.ctl(["service", "logs", "--raw", service]);
  }

  /** Pid of a task's first process, as its host sees it. */
  async pidOf(taskId: string, options: Ctl = {}): Promise<number> {
    const task = await this.json<{ status: { container: { pid: number } } }>(["task", "inspect", taskId], options);
    return task.status.container.pid;
  }

  /** What the log of a host's swarmd says now. */
  log(host: string): string {
    const file = this.host(host).logFile("swarmd");
    return existsSync(file) ? readFileSync(file, "utf8") : "";
  }

  /** Shows the ends of all swarmd logs if the running test fails: the hosts are gone afterwards. */
  showLogsOnFailure(): void {
    onTestFailed(() => {
      for (const { name } of this.swarm.members()) {
        console.log(`--- swarmd on ${name}\n${this.log(name).split("\n").slice(-40).join("\n")}`);
      }
    });
  }

  async #until<T>(
    what: string,
    service: string,
    options: Ctl,
    probe: (rows: readonly TaskRow[]) => T | undefined,
  ): Promise<T> {
    let rows: readonly TaskRow[] = [];
    try {
      const found = await until<T | undefined>(
        what,
        async () => {
          rows = await this.tasks(service, options);
          return probe(rows);
        },
        { timeoutMs: 60_000, periodMs: 100 },
      );
      return found as T;
    } catch (error) {
      const seen = rows.map((row) => `${row.name} ${row.node} ${row.desiredState} ${row.currentState} ${row.error}`);
      throw new Error(`${(error as Error).message}\n${seen.join("\n")}`, { cause: error });
    }
  }
}
