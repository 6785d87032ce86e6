import { decodeFrame, decodeHeader, headerBytes } from "@starling/raft-node/wal-format";
import type { Chance } from "./chance.ts";
import { walDir } from "./disk.ts";
import { type Host, stateDir } from "./host.ts";
import { fairWeather, type SimNetwork, type Weather } from "./network.ts";
import type { Schedule } from "./schedule.ts";
import type { Trace } from "./trace.ts";

/** What faults do to a world. */
export interface FaultyWorld {
  readonly hosts: readonly Host[];
  readonly schedule: Schedule;
  readonly net: SimNetwork;
  readonly trace: Trace;
  /** Names of the hosts that vote, as the furthest replica knows. */
  readonly voters: readonly string[];
  /** Starts a host that is down. */
  start(host: Host): void;
  /** A new, empty machine that asks to join. */
  addHost(): void;
}

/** Names of all faults that can strike, as they are counted. */
export const faultNames = [
  "message lost",
  "message late",
  "message overtook",
  "message doubled",
  "one-way cut",
  "partition",
  "crash",
  "power cut",
  "blackout",
  "graceful restart",
  "pause",
  "clock skew",
  "clock jump",
  "unsynced write lost",
  "torn write",
  "name lost",
  "sync failed",
  "disk stalled",
  "disk full",
  "rot",
  "stream reset",
  "leader transfer",
  "data key rotated",
  "older key forgotten",
  "client came back",
  "client began anew",
  "member joins",
  "member removed",
] as const;

/** Members of a group at most, unless asked otherwise. */
export const membersUsual = 5;
const membersLeast = 3;

/** Lets something go wrong, now and then. Each kind of fault is on its own; together they make the weather of a run. */
export class Faults {
  readonly #world: FaultyWorld;
  readonly #chance: Chance;
  /** How much goes wrong in this run. */
  readonly #rate: number;
  /** How often those who have just won or granted an election are hit. */
  readonly #electionRate: number;
  readonly #elections: boolean;
  readonly #membersMost: number;
  readonly #usualWeather: Weather;
  /** The group is complete, and it is not yet time to recover. */
  #active = false;

  /** With `elections`, what goes wrong goes wrong around elections, and of those there are many. */
  constructor(world: FaultyWorld, chance: Chance, options: { readonly elections: boolean; readonly members: number }) {
    this.#world = world;
    this.#chance = chance;
    this.#elections = options.elections;
    this.#membersMost = options.members;
    this.#rate = options.elections ? 0.01 : chance.between(0.005, 0.05);
    this.#usualWeather = options.elections ? { ...fairWeather, loss: 0.2 } : fairWeather;
    this.#electionRate = options.elections ? 0.8 : chance.pick([0, 0.1, 0.5])!;
  }

  begin(): void {
    this.#active = true;
    this.#world.net.weather = this.#usualWeather;
  }

  /** Once per step. */
  maybeStrike(): void {
    if (this.#chance.happens(this.#rate)) this.#strike();
  }

  #strike(): void {
    const kinds: readonly (readonly [number, () => void])[] = [
      [4, () => this.#changeWeather()],
      [4, () => this.#cut()],
      [4, () => this.#partition()],
      [4, () => this.#isolateLeader()],
      [4, () => this.#crash("crash", this.#anyUp())],
      [4, () => this.#crash("power cut", this.#anyUp())],
      [3, () => this.#crash("power cut", this.#leader())],
      [1, () => this.#blackout()],
      [1, () => this.#restart()],
      [3, () => this.#pause()],
      [1, () => this.#skew()],
      [1, () => this.#jump()],
      [1, () => this.#failSync()],
      [2, () => this.#stallDisk()],
      [1, () => this.#fillDisk()],
      [2, () => this.#rot()],
      [1, () => this.#resetStream()],
      [2, () => this.#rotateKey()],
      [2, () => this.#transfer()],
      [2, () => this.#join()],
      [3, () => this.#remove()],
    ];
    const total = kinds.reduce((sum, [weight]) => sum + weight, 0);
    let at = this.#chance.below(total);
    for (const [weight, strike] of kinds) {
      at -= weight;
      if (at >= 0) continue;
      strike();
      return;
    }
  }

  /** A host has begun to lead: the moment at which the most can go wrong. */
  onLeader(host: Host): void {
    if (!this.#active || !this.#chance.happens(this.#electionRate)) return;
    if (this.#elections && this.#chance.happens(0.8)) {
      this.#later(0, 40, () => this.#isolateAlone(host));
      return;
    }
    if (this.#chance.happens(0.5)) {
      this.#later(0, 20, () => this.#crash("power cut", host));
      return;
    }
    // What it says reaches but some of the others.
    const { hosts, net, trace } = this.#world;
    const share = this.#chance.pick([0.5, 1])!;
    const deaf = hosts.filter((other) => other !== host && this.#chance.happens(share));
    const bothWays = this.#chance.happens(0.7);
    for (const other of deaf) {
      net.cut(host.name, other.name);
      if (bothWays) net.cut(other.name, host.name);
    }
    trace.note("net", `! new leader ${host.name} does not reach ${deaf.map(({ name }) => name)}`);
    this.#mendLater();
  }

  /** Raft paper, figure 8: each leader is cut off soon, and the one before it comes back. */
  #isolateAlone(host: Host): void {
    const { hosts, net, trace } = this.#world;
    if (!this.#active) return;
    net.mend();
    for (const other of hosts) {
      if (other === host) continue;
      net.cut(host.name, other.name);
      net.cut(other.name, host.name);
    }
    trace.note("net", `! new leader ${host.name} apart, all others together`);
    // If they elect nobody.
    this.#later(800, 2_500, () => {
      if (!net.reaches(host.name, hosts.find((other) => other !== host)!.name)) net.mend();
    });
  }

  /** A host has granted its vote. */
  onVote(host: Host): void {
    if (!this.#active || !this.#chance.happens(this.#electionRate / 2)) return;
    this.#later(0, 5, () => this.#crash("power cut", host));
  }

  /** Everything mends: what is left must find together again. */
  end(): void {
    this.#active = false;
    const { net, hosts } = this.#world;
    net.mend();
    net.weather = fairWeather;
    for (const host of hosts) {
      host.disk.full = false;
      if (host.clock) host.clock.rate = 1;
      if (host.process) host.process.pausedUntil = 0;
    }
  }

  #changeWeather(): void {
    const { net } = this.#world;
    const lateMs = this.#chance.between(2, 400);
    const rate = () => (this.#chance.happens(0.5) ? this.#chance.between(0, 0.15) : 0);
    net.weather = { loss: rate(), duplication: rate(), late: rate() * 2, lateMs };
    this.#later(200, 3_000, () => {
      net.weather = this.#active ? this.#usualWeather : fairWeather;
    });
  }

  #cut(): void {
    const { net } = this.#world;
    const [from, to] = [this.#anyUp(), this.#anyUp()];
    if (from === undefined || to === undefined || from === to) return;
    net.cut(from.name, to.name);
    this.#world.trace.note("net", `! cut ${from.name} > ${to.name}`);
    this.#mendLater();
  }

  #partition(): void {
    const { hosts, net, trace } = this.#world;
    const side = new Map(hosts.map((host) => [host, this.#chance.happens(0.5)]));
    for (const a of hosts) for (const b of hosts) if (side.get(a) !== side.get(b)) net.cut(a.name, b.name);
    trace.note("net", `! partition: ${hosts.filter((host) => side.get(host)).map(({ name }) => name)} apart`);
    this.#mendLater();
  }

  #isolateLeader(): void {
    const { hosts, net, trace } = this.#world;
    const leader = this.#leader();
    if (leader === undefined) return;
    // Sometimes one follower stays with it: it has what the others lack.
    const friend = this.#chance.happens(0.5) ? this.#anyUp() : undefined;
    for (const other of hosts) {
      if (other === leader || other === friend) continue;
      for (const near of friend === undefined ? [leader] : [leader, friend]) {
        net.cut(near.name, other.name);
        net.cut(other.name, near.name);
      }
    }
    trace.note("net", `! leader ${leader.name} apart, with ${friend?.name ?? "nobody"}`);
    this.#mendLater();
  }

  #mendLater(): void {
    this.#later(100, 4_000, () => this.#world.net.mend());
  }

  #crash(kind: "crash" | "power cut", host: Host | undefined): void {
    if (host === undefined) return;
    // Mostly the group keeps a quorum, or little would happen.
    const down = this.#members().filter(({ process }) => process === undefined).length;
    if ((down + 1) * 2 >= this.#members().length && this.#chance.happens(0.8)) return;
    const { process } = host;
    const crash = () => {
      if (host.process !== process) return;
      this.#world.trace.strike(kind, host.name);
      host.crash(kind === "power cut");
      this.#startLater(host);
    };
    if (this.#chance.happens(0.3)) crash();
    // In the middle of its next write.
    else host.disk.armed = () => this.#later(0, 4, crash);
  }

  /** All hosts lose their power at once. */
  #blackout(): void {
    this.#world.trace.strike("blackout", "all");
    for (const host of this.#members()) {
      if (host.process === undefined) continue;
      host.crash(true);
      this.#startLater(host);
    }
  }

  #restart(): void {
    const host = this.#anyUp();
    if (host === undefined) return;
    this.#world.trace.strike("graceful restart", host.name);
    void host.stop().then(() => this.#startLater(host));
  }

  #startLater(host: Host): void {
    this.#later(5, this.#chance.happens(0.5) ? 100 : 2_500, () => {
      if (host.state === "down") this.#world.start(host);
    });
  }

  #pause(): void {
    const host = this.#anyUp();
    if (host === undefined) return;
    const ms = this.#chance.between(20, 3_000);
    host.process!.pausedUntil = this.#world.schedule.now + ms;
    this.#world.trace.strike("pause", host.name, { ms });
  }

  #skew(): void {
    const host = this.#anyUp();
    if (host === undefined) return;
    host.clock!.rate = this.#chance.between(0.5, 2);
    this.#world.trace.strike("clock skew", host.name);
  }

  #jump(): void {
    const host = this.#anyUp();
    if (host === undefined) return;
    host.clock!.jump(this.#chance.between(-1e9, 1e9));
    this.#world.trace.strike("clock jump", host.name);
  }

  #failSync(): void {
    this.#anyUp()?.disk.failNext();
  }

  #stallDisk(): void {
    this.#anyUp()?.disk.stall(this.#chance.between(50, 2_500));
  }

  #fillDisk(): void {
    const host = this.#anyUp();
    if (host === undefined) return;
    host.disk.full = true;
    this.#later(500, 4_000, () => {
      host.disk.full = false;
    });
  }

  /**
   * Flips a bit in a record that is not the last, while its host is down. At most one member at a time: more would take
   * what a quorum has acknowledged.
   */
  #rot(): void {
    const { hosts, trace } = this.#world;
    if (this.#world.voters.length < membersLeast) return;
    if (hosts.some(({ rotten, state }) => rotten && state !== "gone")) return;
    const host = this.#chance.pick(this.#members().filter(({ state }) => state === "down"));
    if (host === undefined) return;
    const place = this.#record(host);
    if (place === undefined) return;
    host.disk.flip(place.path, place.offset + this.#chance.below(place.bytes));
    host.rotten = { path: place.path, offset: place.offset };
    trace.strike("rot", host.name, place);
  }

  /** A record of the host's log that is followed by another one. */
  #record(host: Host): { readonly path: string; readonly offset: number; readonly bytes: number } | undefined {
    const records: { readonly path: string; readonly offset: number; readonly bytes: number }[] = [];
    const dir = walDir(stateDir);
    const files = [...host.disk.durableFiles()].filter(([path]) => path.startsWith(dir) && path.endsWith(".wal"));
    for (const [path, bytes] of files.sort(([a], [b]) => (a < b ? -1 : 1))) {
      const decoded = decodeHeader(bytes);
      if (decoded.t !== "ok") return undefined;
      let offset = headerBytes;
      for (;;) {
        const frame = decodeFrame(bytes, offset, decoded.header.salt);
        if (frame === undefined) break;
        // The frame's header and payload, without the zeros that align it.
        records.push({
          path,
          offset,
          bytes: frame.payload.byteOffset - bytes.byteOffset + frame.payload.length - offset,
        });
        offset = frame.end;
      }
    }
    return this.#chance.pick(records.slice(0, -1));
  }

  #resetStream(): void {
    const host = this.#anyUp();
    const stream = this.#chance.pick(host?.transport?.streams ?? []);
    if (stream !== undefined && host?.transport?.reset(stream)) this.#world.trace.strike("stream reset", host.name);
  }

  #rotateKey(): void {
    const host = this.#anyUp();
    if (host?.rotateKey()) this.#world.trace.strike("data key rotated", host.name);
  }

  #transfer(): void {
    const leader = this.#leader();
    if (leader === undefined) return;
    this.#world.trace.strike("leader transfer", leader.name);
    leader.raft!.transferLeadership().catch(() => undefined);
  }

  #join(): void {
    if (this.#members().length >= this.#membersMost || this.#elections) return;
    this.#world.trace.strike("member joins");
    this.#world.addHost();
  }

  #remove(): void {
    const leader = this.#leader();
    if (leader === undefined) return;
    const members = leader.raft!.members();
    const damaged = this.#world.hosts.find(({ state }) => state === "damaged");
    if (members.length <= membersLeast && damaged === undefined) return;
    const name = damaged?.name ?? this.#chance.pick(members)!.nodeId;
    const member = members.find(({ nodeId }) => nodeId === name);
    if (member === undefined) {
      if (damaged) damaged.state = "gone";
      return;
    }
    this.#world.trace.note(leader.name, `! remove ${name}`);
    leader.raft!.removeMember(member.raftId).catch(() => undefined);
  }

  #members(): Host[] {
    return this.#world.hosts.filter(({ state }) => state !== "gone");
  }

  #anyUp(): Host | undefined {
    return this.#chance.pick(this.#world.hosts.filter(({ state }) => state === "up"));
  }

  #leader(): Host | undefined {
    return this.#chance.pick(this.#world.hosts.filter(({ leads }) => leads));
  }

  #later(fromMs: number, toMs: number, run: () => void): void {
    this.#world.schedule.after(this.#chance.between(fromMs, toMs), undefined, run);
  }
}
