import type { StoreAction } from "@starling/api";
import { type FakeClock, type Random, SwarmError } from "@starling/base";
import { MemoryStore, type Proposer } from "@starling/store";

interface Entry {
  readonly actions: readonly StoreAction[];
  readonly index: number;
}

interface Proposal {
  readonly actions: readonly StoreAction[];
  readonly apply: (index: number) => void;
  readonly done: PromiseWithResolvers<void>;
}

/** How long the members take, in milliseconds. */
const commitMs = { least: 1, most: 4 };
const lagMsMost = 60;

/**
 * One manager's place in the log: a proposer for its store, and what it has still to apply. Its group alone changes
 * `leads` and `cut`.
 */
export class Member implements Proposer {
  readonly name: string;
  readonly #clock: FakeClock;
  readonly #random: Random;
  readonly #commit: (member: Member) => void;
  readonly #lagging: boolean;
  /** Entries of others went by that it has not taken: it needs a snapshot. Only with `lagging`. */
  isBehind = false;
  store: MemoryStore;
  leads = false;
  /** Nothing that it proposes reaches the others. */
  cut = false;
  committedIndex = 0;
  proposals: Proposal[] = [];
  #backlog: Entry[] = [];
  #applying = false;
  #committing = false;

  constructor(options: {
    readonly name: string;
    readonly clock: FakeClock;
    readonly random: Random;
    /** Called when the time of what is proposed has come. */
    readonly commit: (member: Member) => void;
    /** Takes no entries of others: see Group. */
    readonly lagging: boolean;
  }) {
    this.#lagging = options.lagging;
    this.name = options.name;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#commit = options.commit;
    this.store = this.#newStore();
  }

  propose(actions: readonly StoreAction[], apply: (index: number) => void): Promise<void> {
    if (!this.leads) throw new SwarmError("Unavailable", `${this.name} does not lead`);
    const done = Promise.withResolvers<void>();
    this.proposals.push({ actions, apply, done });
    if (!this.#committing) {
      this.#committing = true;
      const after = commitMs.least + Math.floor(this.#random() * (commitMs.most - commitMs.least));
      this.#clock.setTimer(after, () => {
        this.#committing = false;
        if (!this.cut) this.#commit(this);
      });
    }
    return done.promise;
  }

  /** Reads of the world's users are not held against the log. */
  async readIndex(): Promise<number> {
    if (this.cut) throw new SwarmError("Unavailable", "no leader confirms");
    return this.committedIndex;
  }

  /** Takes an entry that it did not propose, and applies it some time later. */
  follow(entry: Entry): void {
    if (this.#lagging) {
      this.isBehind = true;
      return;
    }
    this.#backlog.push(entry);
    if (this.#applying) return;
    this.#applying = true;
    this.#clock.setTimer(1 + Math.floor(this.#random() * lagMsMost), () => {
      this.#applying = false;
      this.catchUp();
    });
  }

  /** Applies everything that has reached it. */
  catchUp(): void {
    if (this.cut) return;
    for (const { actions, index } of this.#backlog.splice(0)) {
      this.store.applyActions(actions, index);
      this.committedIndex = index;
    }
  }

  /** Its process is another one: what it knew is gone, but for a snapshot of `source`. */
  async restart(source: Member): Promise<void> {
    this.#backlog = [];
    this.store = this.#newStore();
    const index = source.committedIndex;
    const restore = this.store.beginRestore(index);
    for (const part of source.store.snapshotParts()) restore.add(part);
    await restore.finish(async () => undefined);
    this.committedIndex = index;
    this.isBehind = false;
  }

  /** Takes the state of `store`, which is that after `index`. */
  takeSnapshot(store: MemoryStore, index: number): void {
    this.store.restore(store.snapshot(), index);
    this.committedIndex = index;
    this.isBehind = false;
  }

  #newStore(): MemoryStore {
    const store = new MemoryStore({ clock: this.#clock });
    store.attachProposer(this);
    return store;
  }
}

/**
 * The log that managers share, as raft gives it to their stores: entries are committed in the order of their proposals, a
 * while after those; others apply them later; when a leader is lost, of what it proposed a part from the front is committed,
 * and nobody tells it which. `observer` has everything that is committed, at once. With `lagging`, for large worlds, followers
 * take no entries, and one that is to lead gets a snapshot first: nobody looks at what followers have meanwhile.
 */
export class Group {
  readonly members: readonly Member[];
  readonly observer: MemoryStore;
  readonly #random: Random;
  #index = 0;

  constructor(options: {
    readonly count: number;
    readonly clock: FakeClock;
    readonly random: Random;
    readonly lagging: boolean;
  }) {
    const { clock, random, lagging } = options;
    this.#random = random;
    this.observer = new MemoryStore({ clock, sharesObjects: true });
    this.members = Array.from(
      { length: options.count },
      (_, i) => new Member({ name: `m${i + 1}`, clock, random, lagging, commit: (member) => this.#commitAll(member) }),
    );
  }

  /** The one whose proposals are committed. */
  get leader(): Member | undefined {
    return this.members.find(({ leads, cut }) => leads && !cut);
  }

  /** `member` leads: it has applied all that is committed, and has begun its term with an entry of its own. */
  elect(member: Member): void {
    member.catchUp();
    if (member.isBehind) member.takeSnapshot(this.observer, this.#index);
    member.leads = true;
    this.#index++;
    member.committedIndex = this.#index;
    member.store.reached(this.#index);
  }

  /** `member` leads no more. Some of what it proposed is committed all the same, unless it was cut off. */
  depose(member: Member): void {
    const proposals = member.proposals.splice(0);
    const survive = member.cut ? 0 : Math.floor(this.#random() * (proposals.length + 1));
    member.leads = false;
    member.cut = false;
    const reason = new SwarmError("Unavailable", "outcome unknown: leadership is lost");
    member.store.abandonInFlight(reason);
    for (const { done } of proposals) done.reject(reason);
    for (const { actions } of proposals.slice(0, survive)) this.#append(actions, undefined);
    member.catchUp();
  }

  #commitAll(member: Member): void {
    for (const { actions, apply, done } of member.proposals.splice(0)) {
      const index = this.#append(actions, member);
      member.committedIndex = index;
      apply(index);
      done.resolve();
    }
  }

  #append(actions: readonly StoreAction[], author: Member | undefined): number {
    const entry = { actions, index: ++this.#index };
    this.observer.applyActions(actions, entry.index);
    for (const member of this.members) if (member !== author) member.follow(entry);
    return entry.index;
  }
}
