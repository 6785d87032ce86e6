import { SwarmError } from "@starling/base";
import type { RaftNode } from "@starling/raft-node";
import type { MemoryStore, Proposer } from "@starling/store";
import { type Entry, type Message, MessageType } from "raft-ts";
import type { Raft } from "raft-ts/testing";
import type { Host } from "../host.ts";
import type { Mutant } from "../mutants.ts";
import { Follower } from "./follower.ts";
import { HistoryChecker } from "./history.ts";
import { LogChecker } from "./log.ts";
import { registerOf, StateChecker } from "./state.ts";
import { WatchChecker } from "./watch.ts";

/** Reports what must not be. Only the first report of a run counts. */
export type Fail = (explain: string) => void;

/** Sees what one process applies. */
export interface Witness {
  applied(index: number): void;
  restoring(): void;
  restored(): void;
  /** The node as the store's proposer; what is applied through it is seen, too. */
  proposer(raft: RaftNode): Proposer;
}

/** What the checkers see on their way, for faults that wait for it. */
export interface CheckerEvents {
  leads(name: string): void;
  votes(host: Host): void;
}

/** All checkers of one run. */
export class Checkers {
  readonly log: LogChecker;
  readonly history: HistoryChecker;
  readonly follower: Follower;
  violation: string | undefined;
  readonly #mutant: Mutant | undefined;
  readonly #state: StateChecker;
  readonly #told = new Map<number, string>();
  readonly #watchers = new Map<Host, WatchChecker>();
  readonly #fail: Fail;
  readonly #events: CheckerEvents;

  constructor(mutant: Mutant | undefined, events: CheckerEvents) {
    this.#mutant = mutant;
    this.#events = events;
    this.#fail = (explain) => {
      this.violation ??= explain;
    };
    this.log = new LogChecker(this.#fail, events.leads);
    this.history = new HistoryChecker(this.#fail);
    this.#state = new StateChecker(this.#fail);
    this.follower = new Follower({ fail: this.#fail, told: this.#told, resumesFrom: mutant?.resumesFrom });
  }

  fail(explain: string): void {
    this.#fail(explain);
  }

  hostStarts(host: Host, store: MemoryStore): Witness {
    const { name } = host;
    const loses = this.#mutant?.losesEvent;
    const watcher = new WatchChecker({ fail: this.#fail, name, store, told: this.#told, loses });
    this.#watchers.get(host)?.close();
    this.#watchers.set(host, watcher);
    const applied = (index: number) => {
      if (!this.#state.applied(name, store, index)) return;
      for (const service of store.view((tx) => tx.services.find()))
        this.history.applied(service.id, registerOf(service));
    };
    return {
      applied,
      restoring: () => {
        watcher.restoring = true;
      },
      restored: () => {
        watcher.restoring = false;
        this.#state.restored(name, store);
      },
      proposer: (raft) => {
        const proposer: Proposer = {
          get committedIndex() {
            return raft.committedIndex;
          },
          propose: (actions, apply) =>
            raft.propose(actions, (index) => {
              apply(index);
              applied(index);
            }),
          readIndex: () => raft.readIndex(),
        };
        return this.#mutant?.proposer?.(proposer) ?? proposer;
      },
    };
  }

  hostStarted({ name, rotten }: Host): void {
    if (rotten) this.#fail(`${name} started with a damaged log: ${rotten.path} at offset ${rotten.offset}`);
  }

  /** The follower goes to `host`: see Follower.connect. */
  follow(host: Host): ReturnType<Follower["connect"]> {
    return this.follower.connect(host.store!, this.#watchers.get(host)!);
  }

  hostEnds(host: Host): void {
    this.follower.ends(host.store);
    this.#watchers.get(host)?.close();
    this.#watchers.delete(host);
  }

  /** Damage must be refused, naming file and offset; the rest may be tried again. */
  startFailed(host: Host, error: SwarmError): void {
    const { name, rotten } = host;
    if (rotten) {
      const names = error.message.includes(rotten.path) && error.message.includes(`offset ${rotten.offset}:`);
      if (error.code === "DataLoss" && names) host.state = "damaged";
      else this.#fail(`${name} with damage in ${rotten.path} at ${rotten.offset} says: ${error.code} ${error.message}`);
      return;
    }
    const transient = ["Unavailable", "ResourceExhausted", "DeadlineExceeded"].includes(error.code);
    if (!transient && !isInjected(error)) this.#fail(`${name} cannot start: ${error.code} ${error.message}`);
  }

  /** A node may stop only because its disk failed. */
  fatal({ name }: Host, error: SwarmError): void {
    if (!isInjected(error)) this.#fail(`${name} stops: ${error.message}`);
  }

  sent(host: Host, message: Message): void {
    this.log.sent(host.name, message);
    if (message.type === MessageType.MsgVoteResp && !message.reject) this.#events.votes(host);
  }

  appends(host: Host, raft: Raft, entries: readonly Entry[]): void {
    if (entries.length > 0) this.log.appends(host.name, raft, entries);
  }

  /** After each event. */
  observe(hosts: readonly Host[]): void {
    const live = hosts.flatMap(({ name, raw, process }) => (raw && process?.alive ? [{ name, raft: raw }] : []));
    for (const { name, raft } of live) this.log.observe(name, raft, live);
  }

  /** After each step: nothing is under way between raft, store and watchers. */
  afterStep(hosts: readonly Host[]): void {
    for (const host of hosts) {
      const { state, raw, raft } = host;
      if (state !== "up" || raw === undefined || raft === undefined) continue;
      this.#watchers.get(host)?.compare();
      this.follower.compare(host.store!);
      this.#compareMembers(host, raft, raw);
    }
  }

  /** Raft counts exactly the members that the replicated state knows. */
  #compareMembers({ name }: Host, node: RaftNode, raft: Raft): void {
    // Raft takes over a snapshot's configuration when it arrives, the replica once it is on disk.
    if (raft.log.unstable.snapshot !== undefined || raft.log.applied !== appliedBy(node)) return;
    const members = node.members();
    const { voters, learners } = raft.tracker.config;
    if (members.length === voters.incoming.size + learners.size) {
      if (members.every(({ raftId }) => voters.incoming.has(raftId) || learners.has(raftId))) return;
    }
    const known = members.map(({ raftId }) => raftId.toString(16)).join(" ");
    const counted = [...voters.incoming, ...learners].map((id) => id.toString(16)).join(" ");
    this.#fail(`${name}'s raft counts other members [${counted}] than belong to the group [${known}]`);
  }
}

/** Undefined when the node is stopping. */
function appliedBy(node: RaftNode): number | undefined {
  try {
    return node.status().appliedIndex;
  } catch (thrown) {
    if (SwarmError.from(thrown).code === "Unavailable") return undefined;
    throw thrown;
  }
}

function isInjected({ message }: SwarmError): boolean {
  return message.includes("EIO");
}
