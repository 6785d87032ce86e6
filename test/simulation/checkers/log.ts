import { type Entry, type Message, MessageType, noLimit, StateType } from "raft-ts";
import type { Raft } from "raft-ts/testing";
import type { Fail } from "./index.ts";

interface Committed {
  readonly entry: Entry;
  /** Term of the member that was first seen to have committed it: at least that of the leader who did. */
  readonly term: number;
}

interface Known {
  readonly entry: Entry;
  /** Undefined when it was compacted away where the entry was first seen. */
  prevTerm: number | undefined;
}

const { MsgApp, MsgHeartbeat, MsgSnap, MsgVoteResp } = MessageType;

/** Raft paper, figure 3: election safety, log matching, leader completeness; and that what is committed never changes. */
export class LogChecker {
  readonly #fail: Fail;
  readonly #newLeader: (name: string) => void;
  readonly #leaderOf = new Map<number, bigint>();
  readonly #votes = new Map<string, bigint>();
  readonly #committed: Committed[] = [];
  readonly #entries = new Map<string, Known>();
  /** Per life of a member: up to where its commits were checked, and in which term it was seen to lead. */
  readonly #seen = new WeakMap<Raft, { commit: number; ledIn: number }>();

  constructor(fail: Fail, newLeader: (name: string) => void) {
    this.#fail = fail;
    this.#newLeader = newLeader;
  }

  get committedIndex(): number {
    return Math.max(0, this.#committed.length - 1);
  }

  /** A member's state after an event, with all that live now. */
  observe(name: string, raft: Raft, others: readonly { readonly name: string; readonly raft: Raft }[]): void {
    let seen = this.#seen.get(raft);
    if (seen === undefined) {
      seen = { commit: raft.log.firstIndex() - 1, ledIn: 0 };
      this.#seen.set(raft, seen);
    }
    if (raft.state === StateType.StateLeader && seen.ledIn !== raft.term) {
      seen.ledIn = raft.term;
      this.#leads(name, raft.id, raft.term);
      this.#newLeader(name);
      for (let i = raft.log.firstIndex(); i < this.#committed.length; i++) this.#mustHave(name, raft, i);
    }
    if (raft.log.committed <= seen.commit) return;
    const from = Math.max(seen.commit + 1, raft.log.firstIndex());
    seen.commit = raft.log.committed;
    for (const entry of raft.log.slice(from, raft.log.committed + 1, noLimit) ?? []) {
      const known = this.#committed[entry.index];
      if (known === undefined) {
        this.#committed[entry.index] = { entry, term: raft.term };
        for (const other of others) {
          if (other.raft.state === StateType.StateLeader) this.#mustHave(other.name, other.raft, entry.index);
        }
      } else if (!sameEntry(known.entry, entry)) {
        const was = `term ${known.entry.term}`;
        this.#fail(`committed entry ${entry.index} changed: it was of ${was}, ${name} has one of term ${entry.term}`);
      }
    }
  }

  /** Entries that a member adds to its log. */
  appends(name: string, raft: Raft, entries: readonly Entry[]): void {
    let prevTerm = entries[0] && raft.log.term(entries[0].index - 1);
    for (const entry of entries) {
      const key = `${entry.index}/${entry.term}`;
      const known = this.#entries.get(key);
      if (known === undefined) this.#entries.set(key, { entry, prevTerm });
      else {
        if (!sameEntry(known.entry, entry)) this.#fail(`log matching: ${name} has another entry ${key} than others`);
        if (known.prevTerm !== undefined && prevTerm !== undefined && known.prevTerm !== prevTerm) {
          this.#fail(`log matching: before entry ${key} ${name} has term ${prevTerm}, others have ${known.prevTerm}`);
        }
        known.prevTerm ??= prevTerm;
      }
      prevTerm = entry.term;
    }
  }

  /** A message that a member sends. */
  sent(name: string, { type, from, to, term, reject }: Message): void {
    if (type === MsgApp || type === MsgHeartbeat || type === MsgSnap) this.#leads(name, from, term);
    if (type !== MsgVoteResp || reject) return;
    const key = `${from}/${term}`;
    const candidate = this.#votes.get(key) ?? to;
    this.#votes.set(key, candidate);
    if (candidate !== to)
      this.#fail(`two votes in a term: ${name} in term ${term} for ${hex(candidate)} and ${hex(to)}`);
  }

  #leads(name: string, id: bigint, term: number): void {
    const known = this.#leaderOf.get(term) ?? id;
    this.#leaderOf.set(term, known);
    if (known !== id) this.#fail(`two leaders in term ${term}: ${hex(known)} and ${hex(id)} (${name})`);
  }

  /** Leader completeness: what is committed is in the logs of all later terms' leaders. */
  #mustHave(name: string, raft: Raft, index: number): void {
    const committed = this.#committed[index];
    if (committed === undefined || committed.term >= raft.term || index < raft.log.firstIndex()) return;
    const term = raft.log.term(index);
    if (term === committed.entry.term) return;
    const has = term === undefined ? "ends before it" : `has one of term ${term}`;
    this.#fail(
      `leader completeness: entry ${index} of term ${committed.entry.term} is committed; ${name}'s log ${has}`,
    );
  }
}

function sameEntry(a: Entry, b: Entry): boolean {
  if (a === b) return true;
  return a.term === b.term && a.type === b.type && (a.data === b.data || Buffer.compare(a.data, b.data) === 0);
}

function hex(id: bigint): string {
  return id.toString(16);
}
