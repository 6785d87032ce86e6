/** Pure: no clock, no I/O, no randomness. */
import type { RaftMember } from "@starling/api";
import { SwarmError } from "@starling/base";
import { ConfChangeType, decodeConfChange, type Entry, EntryType, encodeConfChange, type HardState } from "raft-ts";
import { type Member, Membership, memberChange } from "./membership/membership.ts";
import { decodeSnapshot } from "./snapshot-store/decode-snapshot.ts";
import type { LoadedSnapshot } from "./snapshot-store/snapshot-store.ts";
import type { WalContents } from "./wal/replay.ts";

/** What Swarm's --force-new-cluster makes of a log. */
export interface ForcedLog {
  /** Index of the last entry that it had. */
  readonly last: number;
  /** Of the forced log, all of it committed. */
  readonly hardState: HardState;
  /** To be appended: the removal of everybody else, after the owner's vote when he has none yet. */
  readonly changes: readonly Entry[];
  /** The members that are dropped. */
  readonly dropped: readonly Member[];
  /** Entries that were not known here to be committed, and count as committed now. */
  readonly uncertainEntries: number;
}

/**
 * Ends a log with the committed removal of everybody but its owner. The whole log counts as committed: the commit index on
 * disk lags, and what was acknowledged must not be lost; the outcome of the rest was unknown. What this member never got
 * is lost. `snapshot` is the one that the log goes on from. Throws FailedPrecondition when the owner was removed himself.
 */
export function planForcedLog(contents: WalContents, snapshot: LoadedSnapshot | undefined): ForcedLog {
  const { identity, entries, mark, hardState = { term: 1, vote: 0n, commit: 0 } } = contents;
  const { membership, voters } = lastMembership(entries, snapshot);
  const self = membership.get(identity.raftId);
  if (self === undefined) {
    const text = `manager ${identity.nodeId} was removed from its cluster: empty its state folder and let it join anew`;
    throw new SwarmError("FailedPrecondition", `--force-new-cluster: ${text}`);
  }
  const others = membership.list().filter(({ raftId }) => raftId !== identity.raftId);
  const last = entries.at(-1)?.index ?? mark?.index ?? snapshot?.metadata.index ?? 0;
  const vote = voters.has(identity.raftId) ? [] : [memberChange(ConfChangeType.ConfChangeAddNode, self)];
  const removals = others.map(({ raftId }) => ({ type: ConfChangeType.ConfChangeRemoveNode, nodeId: raftId }));
  const changes = [...vote, ...removals].map((change, i): Entry => {
    const data = encodeConfChange(change);
    return { term: hardState.term, index: last + 1 + i, type: EntryType.EntryConfChange, data };
  });
  return {
    last,
    hardState: { ...hardState, commit: last + changes.length },
    changes,
    dropped: others,
    uncertainEntries: Math.max(0, last - Math.max(hardState.commit, snapshot?.metadata.index ?? 0)),
  };
}

/** Who is a member and who votes when all entries are applied. */
function lastMembership(entries: readonly Entry[], snapshot: LoadedSnapshot | undefined) {
  const membership = new Membership();
  const voters = new Set<bigint>(snapshot?.metadata.confState.voters);
  for (const part of decodeSnapshot(snapshot?.chunks ?? [])) {
    if (part.t !== "membership") continue;
    membership.restore(part.membership);
    break;
  }
  for (const { type, index, data } of entries) {
    if (type !== EntryType.EntryConfChange || index <= (snapshot?.metadata.index ?? 0)) continue;
    const change = decodeConfChange(data);
    if (membership.apply(change).t === "refused") continue;
    if (change.type === ConfChangeType.ConfChangeAddNode) voters.add(change.nodeId);
  }
  return { membership, voters };
}

/** For the operator, before anything is written. */
export function describeForcedLog({ last, dropped, uncertainEntries }: ForcedLog, { nodeId }: RaftMember): string {
  const names = dropped.map((member) => `${member.nodeId} (${member.addr})`).join(", ");
  const members = names === "" ? "there are no other managers" : `drops these managers for ever: ${names}`;
  const unknown = `${uncertainEntries} entries whose outcome was unknown are kept`;
  const kept = uncertainEntries === 0 ? "all entries here are known to be committed" : unknown;
  const remedy = "who comes back is refused: empty its state folder and let it join anew";
  return `--force-new-cluster: manager ${nodeId} goes on alone from entry ${last}; ${members}; ${kept}; what only others had is lost; ${remedy}`;
}
