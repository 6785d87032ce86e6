import { setImmediate } from "node:timers";
import type { Config } from "raft-ts";
import { Chance } from "./chance.ts";
import { Checkers } from "./checkers/index.ts";
import { registerOf, storeText } from "./checkers/state.ts";
import { Clients } from "./clients.ts";
import { Faults, type FaultyWorld, membersUsual } from "./faults.ts";
import { Host, type Surroundings } from "./host.ts";
import type { Mutant } from "./mutants.ts";
import { SimNetwork } from "./network.ts";
import { Schedule } from "./schedule.ts";
import { Trace } from "./trace.ts";

export interface Outcome {
  readonly seed: number;
  /** What must not be, and was seen; undefined when all is well. */
  readonly violation: string | undefined;
  /** The last events. */
  readonly trace: string;
  readonly struck: ReadonlyMap<string, number>;
  readonly events: number;
  readonly virtualMs: number;
  readonly committed: number;
  readonly writes: number;
  readonly acknowledged: number;
  readonly reads: number;
}

/** Virtual time of a step. */
const stepMs = 10;
/** In which the group must find together once everything works again. */
const recoveryMs = 60_000;

/** Runs one world from `seed` for `steps` steps of 10 ms, then lets it recover. Deterministic. */
export async function runWorld(options: {
  readonly seed: number;
  readonly steps: number;
  /** A group has this many members at most. */
  readonly members?: number;
  readonly mutant?: Mutant | undefined;
}): Promise<Outcome> {
  const world = new World(options.seed, options.members ?? membersUsual, options.mutant);
  await world.run(options.steps);
  return world.outcome();
}

class World implements FaultyWorld {
  readonly hosts: Host[] = [];
  readonly schedule = new Schedule();
  readonly chance: Chance;
  readonly trace: Trace;
  readonly net: SimNetwork;
  readonly #seed: number;
  readonly #checkers: Checkers;
  readonly #surroundings: Surroundings;
  readonly #clients: Clients;
  readonly #faults: Faults;
  /** How often, per step, the follower loses its connection. */
  readonly #restlessness: number;
  #step = 0;
  #events = 0;
  /** The membership as the furthest replica knows it. */
  #membership: { readonly applied: number; readonly voters: readonly string[] } = { applied: 0, voters: [] };

  constructor(seed: number, members: number, mutant: Mutant | undefined) {
    this.#seed = seed;
    this.chance = new Chance(seed);
    this.trace = new Trace(() => ({ step: this.#step, ms: this.schedule.now }));
    this.net = new SimNetwork(this.schedule, this.chance.fork(), this.trace);
    this.#checkers = new Checkers(mutant, {
      leads: (name) => this.#faults.onLeader(this.hosts.find((host) => host.name === name)!),
      votes: (host) => this.#faults.onVote(host),
    });
    const elections = this.chance.happens(0.25);
    this.#restlessness = this.chance.pick([0.02, 0.3])!;
    this.#surroundings = {
      schedule: this.schedule,
      net: this.net,
      trace: this.trace,
      checkers: this.#checkers,
      mutant,
      streams: this.chance.happens(0.5),
      clear: this.chance.happens(0.2),
      raftConfig: elections ? oneEntryAtATime : raftConfig(this.chance),
      find: (addr) => this.hosts.find((host) => host.addr === addr),
      someLeader: () => this.hosts.find(({ leads }) => leads),
    };
    this.#clients = new Clients(this.chance.fork(), this.#checkers, this.trace);
    this.#faults = new Faults(this, this.chance.fork(), { elections, members });
  }

  get voters(): readonly string[] {
    return this.#membership.voters;
  }

  start(host: Host): void {
    this.trace.note(host.name, "starts");
    host.start(host === this.hosts[0]);
  }

  addHost(): void {
    const host = new Host(`n${this.hosts.length + 1}`, this.#surroundings, this.chance.fork());
    this.hosts.push(host);
    this.start(host);
  }

  async run(steps: number): Promise<void> {
    try {
      this.addHost();
      await this.#until(() => this.hosts[0]!.leads, 5_000);
      for (let i = 0; i < 2; i++) this.addHost();
      await this.#until(() => this.voters.length >= 3, 10_000);
      this.#faults.begin();
      for (this.#step = 1; this.#step <= steps && !this.#failed; this.#step++) {
        this.#faults.maybeStrike();
        if (this.chance.happens(0.25)) this.#clients.act(this.hosts);
        if (this.chance.happens(0.02)) this.#startSomeHost();
        if (this.#follow()) await settled();
        await this.#pass(stepMs);
      }
      this.#faults.end();
      this.trace.note("all", "everything mends");
      if (!this.#failed && this.#canRecover()) await this.#recover();
    } finally {
      for (const host of this.hosts) {
        if (host.process) host.process.alive = false;
        this.#checkers.hostEnds(host);
      }
    }
  }

  outcome(): Outcome {
    const { history, log } = this.#checkers;
    return {
      seed: this.#seed,
      violation: this.#checkers.violation,
      trace: this.#failed ? String(this.trace) : "",
      struck: this.trace.struck,
      events: this.#events,
      virtualMs: this.schedule.now,
      committed: log.committedIndex,
      writes: history.writes,
      acknowledged: history.acknowledged,
      reads: history.reads,
    };
  }

  get #failed(): boolean {
    return this.#checkers.violation !== undefined;
  }

  /** Lets `ms` of virtual time pass; checks after each event, and more at the end. */
  async #pass(ms: number): Promise<void> {
    const end = this.schedule.now + ms;
    for (let happen = this.schedule.next(end); happen !== undefined; happen = this.schedule.next(end)) {
      this.#events++;
      happen();
      await settled();
      this.#checkers.observe(this.hosts);
      if (this.#failed) return;
    }
    this.#checkers.afterStep(this.hosts);
    this.#noteMembership();
  }

  async #until(done: () => boolean, withinMs: number): Promise<boolean> {
    for (let passed = 0; passed < withinMs && !this.#failed; passed += stepMs) {
      if (done()) return true;
      await this.#pass(stepMs);
    }
    return done();
  }

  /** The follower loses its connection, or finds another one: then it has something to read. */
  #follow(): boolean {
    const { follower } = this.#checkers;
    if (follower.connected) {
      if (this.chance.happens(this.#restlessness)) follower.disconnect();
      return false;
    }
    const host = this.chance.pick(this.hosts.filter(({ state }) => state === "up"));
    if (host === undefined || !this.chance.happens(0.3)) return false;
    const outcome = this.#checkers.follow(host);
    if (outcome === "resumed") this.trace.strike("client came back", host.name);
    else if (outcome === "anew") this.trace.strike("client began anew", host.name);
    return outcome !== "refused";
  }

  #startSomeHost(): void {
    const host = this.chance.pick(this.hosts.filter(({ state }) => state === "down"));
    if (host) this.start(host);
  }

  #noteMembership(): void {
    for (const { state, raft, raw } of this.hosts) {
      if (state !== "up") continue;
      const { applied } = raw!.log;
      if (applied <= this.#membership.applied) continue;
      const voters = raft!.members().filter(({ voter }) => voter);
      this.#membership = { applied, voters: voters.map(({ nodeId }) => nodeId) };
    }
  }

  /** Is there a majority of the voters whose disks are whole? */
  #canRecover(): boolean {
    const whole = this.voters.filter((name) => {
      const host = this.hosts.find((each) => each.name === name)!;
      return host.rotten === undefined && host.state !== "gone";
    });
    return whole.length * 2 > this.voters.length;
  }

  /** Everybody who can starts, follows one leader and holds the same state; then the history must be whole. */
  async #recover(): Promise<void> {
    const { history } = this.#checkers;
    const { acknowledged } = history;
    let settled: string | undefined;
    const together = () => {
      for (const host of this.hosts) if (host.state === "down") this.start(host);
      const leader = this.hosts.find(({ leads }) => leads);
      if (leader === undefined) return false;
      if (history.acknowledged === acknowledged) {
        this.#clients.act(this.hosts);
        return false;
      }
      const text = storeText(leader.store!);
      const members = leader.raft!.members().map(({ nodeId }) => this.hosts.find(({ name }) => name === nodeId)!);
      const same = members.every((host) => host.rotten || (host.state === "up" && storeText(host.store!) === text));
      if (same) settled = text;
      return same;
    };
    const done = await this.#until(together, recoveryMs);
    // A removal that was under way may have left a majority without whole disks meanwhile.
    if (this.#failed || (!done && !this.#canRecover())) return;
    if (!done || settled === undefined) {
      const states = this.hosts.map(({ name, state, leads }) => `${name} ${leads ? "leads" : state}`).join(", ");
      this.#checkers.fail(`no recovery in ${recoveryMs} ms: ${states}`);
      return;
    }
    const leader = this.hosts.find(({ leads }) => leads)!;
    history.finish(new Map(leader.store!.view((tx) => tx.services.find()).map((each) => [each.id, registerOf(each)])));
  }
}

/** All promises that an event settles go on before the next event. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Makes the most of elections: a leader's entries spread one by one. */
const oneEntryAtATime: Partial<Config> = {
  maxSizePerMsg: 0,
  maxInflightMsgs: 1,
  maxCommittedSizePerReady: 2_000,
  preVote: false,
  electionTick: 3,
  heartbeatTick: 1,
};

/**
 * Limits that differ from run to run; those of production in every other one. Always with PreVote: without it, a member that
 * has not heard of the newest ones raises its term for ever, ignores their lower ones, and holds up a group that needs it.
 */
function raftConfig(chance: Chance): Partial<Config> {
  if (chance.happens(0.5)) return {};
  const maxSizePerMsg = chance.pick([0, 200, 4_000])!;
  const limits = { maxSizePerMsg, maxInflightMsgs: 1 + chance.below(8), maxCommittedSizePerReady: 2_000 };
  return { ...limits, electionTick: 3 + chance.below(6), heartbeatTick: 1 };
}
