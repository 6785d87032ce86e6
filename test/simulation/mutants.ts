import type { StoreSnapshot } from "@starling/api";
import type { Proposer, StoreEvent } from "@starling/store";
import {
  type Config,
  isLocalMsgTarget,
  LocalAppendThread,
  type Message,
  MessageType,
  None,
  type RawNode,
  type Ready,
  StateType,
} from "raft-ts";
import type { Raft } from "raft-ts/testing";

/** One rule switched off, to show that the checkers would see it. Wrapped around the production code, never in it. */
export interface Mutant {
  /** The rule that does not hold. */
  readonly name: string;
  readonly config?: Partial<Config>;
  readonly mutate?: (node: RawNode, raft: Raft) => void;
  readonly ready?: (ready: Ready) => Ready;
  readonly proposer?: (proposer: Proposer) => Proposer;
  readonly restore?: (snapshot: StoreSnapshot) => StoreSnapshot;
  readonly losesEvent?: (event: StoreEvent) => boolean;
  /** From which version a client goes on that saw everything up to `version`. */
  readonly resumesFrom?: (version: number) => number;
  /** Data keys are forgotten before raft says that they may be. */
  readonly forgetsKeys?: boolean;
  readonly lyingDisk?: boolean;
  /** Damaged records are read as if they were the torn end of the log. */
  readonly hidesRot?: boolean;
}

const { MsgVote, MsgReadIndex, MsgAppResp, MsgVoteResp } = MessageType;

/** Calls `before` with every message that a node steps. */
function beforeStep(node: RawNode, before: (message: Message) => void): void {
  const step = node.step.bind(node);
  node.step = (message) => {
    before(message);
    step(message);
  };
}

export const mutants: readonly Mutant[] = [
  {
    name: "two votes in a term",
    mutate: (node, raft) =>
      beforeStep(node, ({ type, term }) => {
        if (type === MsgVote && term === raft.term && raft.state !== StateType.StateLeader) {
          raft.vote = None;
          raft.lead = None;
        }
      }),
  },
  {
    name: "the vote is not written",
    ready: (ready) => ({
      ...ready,
      messages: ready.messages.map((m) => (m.to === LocalAppendThread && m.vote !== None ? { ...m, vote: None } : m)),
    }),
  },
  {
    name: "answers before the write",
    ready: (ready) => ({ ...ready, messages: ready.messages.flatMap(answersFirst) }),
  },
  { name: "a sync that does not sync", lyingDisk: true },
  {
    name: "an old term's entry is committed by counting",
    mutate: (_node, raft) => {
      const { log } = raft;
      log.maybeCommit = ({ index }) => {
        if (index <= log.committed) return false;
        log.commitTo(index);
        return true;
      };
    },
  },
  {
    name: "a candidate with an old log is elected",
    mutate: (_node, raft) => {
      raft.log.isUpToDate = () => true;
    },
  },
  {
    name: "entries are appended without a look at the one before",
    mutate: (_node, raft) => {
      const { log } = raft;
      log.matchTerm = ({ index, term }) => index <= log.lastIndex() && (log.term(index) ?? 0) <= term;
    },
  },
  {
    name: "one vote less than a majority commits",
    mutate: (_node, raft) => {
      const { tracker } = raft;
      tracker.committed = () => {
        const matches = [...tracker.config.voters.incoming].map((id) => tracker.progress.get(id)?.match ?? 0);
        matches.sort((a, b) => b - a);
        return matches[Math.max(0, Math.floor(matches.length / 2) - 1)] ?? 0;
      };
    },
  },
  {
    name: "a removed member is still counted",
    mutate: (node) => {
      const apply = node.applyConfChange.bind(node);
      node.applyConfChange = (change) =>
        "type" in change && change.type === 1 ? apply({ ...change, nodeId: None }) : apply(change);
    },
  },
  {
    name: "a stale read is served",
    mutate: (node, raft) => {
      const readIndex = node.readIndex.bind(node);
      node.readIndex = (requestCtx) => {
        if (raft.state === StateType.StateLeader) raft.readStates.push({ index: raft.log.committed, requestCtx });
        else readIndex(requestCtx);
      };
      beforeStep(node, (message) => {
        if (message.type !== MsgReadIndex || raft.state !== StateType.StateLeader) return;
        const { from, entries } = message;
        raft.msgs.push({
          ...message,
          type: MessageType.MsgReadIndexResp,
          to: from,
          from: raft.id,
          term: raft.term,
          index: raft.log.committed,
          entries,
        });
      });
    },
  },
  {
    name: "a write is acknowledged when it is proposed",
    proposer: (proposer) => ({
      get committedIndex() {
        return proposer.committedIndex;
      },
      propose: (actions, apply) => {
        proposer.propose(actions, apply).catch(() => undefined);
        return Promise.resolve();
      },
      readIndex: () => proposer.readIndex(),
    }),
  },
  {
    name: "the store answers reads without asking for an index",
    proposer: (proposer) => ({
      get committedIndex() {
        return proposer.committedIndex;
      },
      propose: (actions, apply) => proposer.propose(actions, apply),
      readIndex: () => Promise.resolve(proposer.committedIndex),
    }),
  },
  {
    name: "a snapshot forgets an object",
    restore: (snapshot) => ({ ...snapshot, tasks: snapshot.tasks.slice(1) }),
  },
  {
    name: "a watcher misses a change",
    losesEvent: (event) => event.kind === "task" && event.action === "remove" && event.object.id.endsWith("7"),
  },
  { name: "a change is missed at a reconnect", resumesFrom: (version) => version + 1 },
  { name: "a change comes twice after a reconnect", resumesFrom: (version) => version - 1 },
  { name: "a data key is forgotten too early", forgetsKeys: true },
  { name: "damage in the log is cut like a torn end", hidesRot: true },
];

/** The responses to others that wait for a write go out in front of it. */
function answersFirst(message: Message): readonly Message[] {
  if (message.to !== LocalAppendThread || message.responses === undefined) return [message];
  const early = message.responses.filter(
    ({ type, from, to }) => (type === MsgAppResp || type === MsgVoteResp) && to !== from && !isLocalMsgTarget(from),
  );
  return [...early, { ...message, responses: message.responses.filter((each) => !early.includes(each)) }];
}

export function mutantNamed(name: string): Mutant | undefined {
  return mutants.find((mutant) => mutant.name === name);
}
