import type { JoinResponse } from "@starling/api";
import { SwarmError } from "@starling/base";
import { aesSealer, type Files, type RaftHandlers, RaftNode } from "@starling/raft-node";
import { MemoryStore } from "@starling/store";
import { type Config, type Message, RawNode } from "raft-ts";
import { type Raft, raftOf } from "raft-ts/testing";
import type { Chance } from "./chance.ts";
import type { Checkers } from "./checkers/index.ts";
import { SimDisk } from "./disk.ts";
import { SimKeyring } from "./keyring.ts";
import type { Mutant } from "./mutants.ts";
import type { SimNetwork } from "./network.ts";
import { Process, type Schedule, SimClock } from "./schedule.ts";
import { observed } from "./state-machine.ts";
import { StreamTransport } from "./streams.ts";
import type { Trace } from "./trace.ts";
import { type BreakableTransport, context, type RaftEndpoint, SimTransport } from "./transport.ts";

/**
 * - down: its process does not run; it may be started
 * - starting: its log is being opened, or it joins
 * - up: it runs
 * - stopping: it hands over and ends
 * - damaged: it refuses to start, as it must: its log has rotted
 * - gone: it was removed from the group and its state is forgotten
 */
export type HostState = "down" | "starting" | "up" | "stopping" | "damaged" | "gone";

/** What the hosts of one world share. */
export interface Surroundings {
  readonly schedule: Schedule;
  readonly net: SimNetwork;
  readonly trace: Trace;
  readonly checkers: Checkers;
  readonly mutant: Mutant | undefined;
  readonly raftConfig: Partial<Config>;
  /** Peers are reached by production's streams; else each message goes by itself, and may be doubled and overtaken. */
  readonly streams: boolean;
  /** Logs begin unsealed. */
  readonly clear: boolean;
  readonly find: (addr: string) => Host | undefined;
  /** A host that believes to lead, to join through. */
  readonly someLeader: () => Host | undefined;
}

export const stateDir = "/state";
const joinTimeoutMs = 5_000;

/** One manager's machine: its disk stays, its process comes and goes. */
export class Host implements RaftEndpoint {
  readonly name: string;
  readonly addr: string;
  readonly disk: SimDisk;
  readonly #keyring: SimKeyring;
  readonly #world: Surroundings;
  readonly #chance: Chance;
  state: HostState = "down";
  /** What a bit flip on the disk has damaged; the node must refuse to start, naming it. */
  rotten: { readonly path: string; readonly offset: number } | undefined;
  process: Process | undefined;
  clock: SimClock | undefined;
  raft: RaftNode | undefined;
  store: MemoryStore | undefined;
  transport: BreakableTransport | undefined;
  raw: Raft | undefined;
  /** How many processes it has had. */
  life = 0;

  constructor(name: string, world: Surroundings, chance: Chance) {
    this.name = name;
    this.addr = `${name}:4242`;
    this.#world = world;
    this.#chance = chance;
    const { schedule, trace } = world;
    this.disk = new SimDisk({ schedule, chance: chance.fork(), trace, host: name });
    this.disk.lies = world.mutant?.lyingDisk ?? false;
    const forgetful = world.mutant?.forgetsKeys ?? false;
    this.#keyring = new SimKeyring({ disk: this.disk, chance: chance.fork(), clear: world.clear, forgetful });
  }

  get handlers(): RaftHandlers | undefined {
    return this.raft?.handlers;
  }

  get leads(): boolean {
    return this.state === "up" && this.raft?.isLeader === true;
  }

  /** Starts the process: goes on from the disk; with an empty one, makes the group or joins it. */
  start(first: boolean): void {
    const { schedule, checkers, trace, mutant, net, find, streams } = this.#world;
    const process = new Process();
    const clock = new SimClock(schedule, process, this.#chance.between(0.9, 1.1));
    const store = new MemoryStore({ clock });
    this.process = process;
    this.clock = clock;
    this.store = store;
    this.raw = undefined;
    this.transport = undefined;
    this.state = "starting";
    this.life++;
    const witness = checkers.hostStarts(this, store);
    const { keys } = this.#keyring;
    const nextTurn = (run: () => void) => void schedule.after(0, process, run);
    const raft = new RaftNode({
      stateDir,
      nodeId: this.name,
      addr: this.addr,
      stateMachine: observed(store, witness, mutant),
      transportCredentials: () => {
        throw new Error("the simulated network needs no certificates");
      },
      clock,
      random: this.#chance.fork().random,
      log: trace.logger(this.name),
      ...(first ? { raftId: BigInt(1 + this.#chance.below(1_000_000)) } : { join: { remote: "" } }),
      segmentBytes: 16 * 1024,
      snapshots: { intervalEntries: this.#chance.pick([10, 60])!, keepEntries: this.#chance.below(2) * 20 },
      ...(keys && { keys }),
      onKeysRetired: () => this.#onKeysRetired(process),
      onRemoved: () => this.#onRemoved(process),
      onFatal: (error) => this.#onFatal(process, error),
      host: {
        files: this.#files(process),
        network: {
          connect: (options) => {
            const sent = (message: Message) => checkers.sent(this, message);
            const wire = { ...options, self: this, process, net, schedule, find, sent };
            this.transport = streams ? new StreamTransport({ ...wire, nextTurn }) : new SimTransport(wire);
            return this.transport;
          },
          join: () => this.#join(process),
          checkHealth: (addr) => this.#checkHealth(addr, process),
        },
        nextTurn,
        newRawNode: (config) => this.#newRawNode(config),
      },
    });
    this.raft = raft;
    raft.start().then(
      () => {
        if (this.process !== process || !process.alive) return;
        store.attachProposer(witness.proposer(raft));
        this.state = "up";
        checkers.hostStarted(this);
      },
      (thrown) => this.#startFailed(process, SwarmError.from(thrown)),
    );
  }

  /** The process ends at once. With `power` the machine does, too. */
  crash(power: boolean): void {
    if (this.process === undefined) return;
    this.process.alive = false;
    void this.transport?.stop(0);
    this.#forgetProcess();
    if (power) this.disk.powerCut();
    else this.disk.settle();
  }

  /** A new data key, unless one is on its way already. False if so. */
  rotateKey(): boolean {
    const { process, raft } = this;
    if (this.#keyring.rotating || raft === undefined) return false;
    this.#keyring.begin();
    this.#world.schedule.after(this.#chance.between(0, 20), process, () => this.#keyring.tell(raft));
    return true;
  }

  /** The older keys go a little later: the process may end in between, and hear of it again. */
  #onKeysRetired(process: Process): void {
    const { schedule, trace, checkers } = this.#world;
    schedule.after(this.#chance.between(0, 20), process, () => {
      const left = this.#keyring.retired((key) => aesSealer(key).fingerprint);
      trace.strike("older key forgotten", this.name);
      if (left !== undefined) checkers.fail(`${this.name}: ${left} needs a data key that was said to be needless`);
    });
  }

  /** Ends as on SIGTERM: hands leadership over first. */
  async stop(): Promise<void> {
    const { process, raft } = this;
    this.state = "stopping";
    await raft?.stop();
    if (this.process === process) this.crash(false);
  }

  #forgetProcess(): void {
    this.#world.checkers.hostEnds(this);
    this.process = undefined;
    this.raft = undefined;
    this.store = undefined;
    this.raw = undefined;
    if (this.state !== "gone" && this.state !== "damaged") this.state = "down";
  }

  #files(process: Process): Files {
    const files = this.disk.files(process);
    if (!this.#world.mutant?.hidesRot) return files;
    return {
      ...files,
      read: async (path) => {
        const bytes = await files.read(path);
        return this.rotten?.path === path ? bytes.fill(0, this.rotten.offset) : bytes;
      },
    };
  }

  #newRawNode(config: Config): RawNode {
    const { mutant, raftConfig, checkers } = this.#world;
    const node = new RawNode({ ...config, ...raftConfig, ...mutant?.config });
    const raft = raftOf(node);
    this.raw = raft;
    mutant?.mutate?.(node, raft);
    const ready = node.ready.bind(node);
    node.ready = () => {
      const work = ready();
      checkers.appends(this, raft, work.entries);
      return mutant?.ready?.(work) ?? work;
    };
    return node;
  }

  #onRemoved(process: Process): void {
    if (this.process !== process) return;
    this.#world.trace.strike("member removed", this.name);
    this.state = "gone";
    // In a turn of its own, as a manager would.
    this.#world.schedule.after(0, process, () => this.crash(false));
  }

  #onFatal(process: Process, error: SwarmError): void {
    if (this.process !== process || !process.alive) return;
    this.#world.checkers.fatal(this, error);
    this.#world.schedule.after(0, process, () => this.crash(false));
  }

  #startFailed(process: Process, error: SwarmError): void {
    if (this.process !== process || !process.alive) return;
    this.#world.checkers.startFailed(this, error);
    this.crash(false);
  }

  /** Asks a leader to be taken in; fails when there is none, or no answer comes. */
  #join(process: Process): Promise<JoinResponse> {
    const { net, schedule, someLeader } = this.#world;
    const leader = someLeader();
    return new Promise((resolve, reject) => {
      const refused = () => reject(new SwarmError("Unavailable", "no leader answers the join"));
      schedule.after(joinTimeoutMs, process, refused);
      if (leader?.raft === undefined) return;
      const { raft } = leader;
      const reply = (settle: () => void) => net.send(leader, this, settle);
      net.send(
        this,
        leader,
        () =>
          void raft.handlers.membership.join({ addr: this.addr }, context(this.name)).then(
            (response) => reply(() => resolve(response)),
            (thrown) => reply(() => reject(thrown)),
          ),
        refused,
      );
    });
  }

  #checkHealth(addr: string, process: Process): Promise<void> {
    const { net, schedule, find } = this.#world;
    const target = find(addr);
    return new Promise((resolve, reject) => {
      const refused = () => reject(new SwarmError("Unavailable", `${addr} does not answer`));
      schedule.after(joinTimeoutMs, process, refused);
      if (target === undefined) return;
      net.send(this, target, () => net.send(target, this, resolve), refused);
    });
  }
}
