import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, type Logger, SwarmError } from "@starling/base";
import { type NodeIdentity, unsealed } from "@starling/ca";
import type { Manager, ManagerOptions } from "@starling/manager";
import { keepOldGenerationTight, letOldGenerationGrow, letYoungGenerationGrow } from "./heap-growth.ts";
import type { WorkerSocket } from "./local-socket.ts";

const retryMs = 1_000;

/**
 * The manager of a node while its certificate says that it is one. States: worker (none), starting, running; a change of
 * role starts or stops it, a start that fails is tried again unless it is the node's first.
 */
export class ManagerPart {
  readonly #options: Omit<ManagerOptions, "join" | "onRemoved" | "forceNewCluster">;
  readonly #clock: Clock;
  readonly #log: Logger;
  /** Open while this node is no manager. */
  readonly #workerSocket: WorkerSocket;
  /** Managers through which a promoted node joins the Raft group. */
  readonly #remotes: () => readonly string[];
  #wanted = false;
  #manager: Manager | undefined;
  /** Changes of role one after the other. */
  #turn: Promise<void> = Promise.resolve();

  constructor(
    options: Omit<ManagerOptions, "join" | "onRemoved" | "forceNewCluster"> & {
      readonly remotes: () => readonly string[];
      readonly workerSocket: WorkerSocket;
    },
  ) {
    const { remotes, workerSocket, ...rest } = options;
    this.#options = rest;
    this.#workerSocket = workerSocket;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#remotes = remotes;
  }

  get manager(): Manager | undefined {
    return this.#manager;
  }

  /** The first start of a process: what hinders it is the operator's to mend, and thrown. */
  async startNow(options: { readonly join?: string | undefined; readonly forceNewCluster?: boolean }): Promise<void> {
    this.#wanted = true;
    this.#manager = await this.#start(options);
  }

  /** Follows the node's role from then on. */
  setWanted(wanted: boolean): void {
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    this.#turn = this.#turn.then(() => (wanted ? this.#promote() : this.#demote()));
  }

  async stop(): Promise<void> {
    this.#wanted = false;
    await this.#turn;
    await this.#manager?.stop();
    this.#manager = undefined;
  }

  /** A worker never loads what only managers run: half of the program. */
  async #start(options: { readonly join?: string | undefined; readonly forceNewCluster?: boolean }): Promise<Manager> {
    letYoungGenerationGrow();
    const { Manager } = await import("@starling/manager");
    await this.#workerSocket.close();
    const manager = await Manager.start({
      ...this.#options,
      ...(options.join === undefined ? {} : { join: options.join }),
      ...(options.forceNewCluster ? { forceNewCluster: true } : {}),
      onRemoved: () => {
        this.#turn = this.#turn.then(() => this.#demote());
      },
    });
    keepOldGenerationTight();
    return manager;
  }

  async #promote(): Promise<void> {
    while (this.#wanted && !this.#manager) {
      const join = this.#remotes()[0];
      try {
        this.#manager = await this.#start({ join });
        this.#log.info("this node is a manager now");
      } catch (thrown) {
        this.#log.warn("manager not started, trying again", { error: SwarmError.from(thrown).message });
        await this.#clock.sleep(retryMs);
      }
    }
  }

  async #demote(): Promise<void> {
    const manager = this.#manager;
    this.#manager = undefined;
    if (!manager) return;
    await manager.stop();
    letOldGenerationGrow();
    await forgetManager(this.#options.stateDir, this.#options.identity);
    await this.#workerSocket.open();
    this.#log.info("this node is a worker now");
  }
}

/**
 * Drops what only a manager has: a member that was removed never comes back under its old Raft id, and its log is of no use
 * without its data keys, which a worker, who starts unlocked, must not keep. First the log: a log without keys could not be
 * told from damage.
 */
export async function forgetManager(stateDir: string, identity: NodeIdentity): Promise<void> {
  await rm(join(stateDir, "raft"), { recursive: true, force: true });
  const { kek, raft } = identity.sealing;
  if (kek !== undefined || raft !== undefined) await identity.seal(() => unsealed);
}
