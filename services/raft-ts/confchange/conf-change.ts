/** Pure: no clock, no I/O, no randomness. */
import { RaftError } from "../errors.ts";
import {
  type AnyConfChange,
  type ConfChangeSingle,
  ConfChangeTransition,
  ConfChangeType,
  type ConfChangeV2,
  type Entry,
  EntryType,
  noData,
} from "../types.ts";
import { decodeConfChange, decodeConfChangeV2, encodeConfChange, encodeConfChangeV2 } from "../wire.ts";

/** The same change in the newer form. */
export function asV2(cc: AnyConfChange): ConfChangeV2 {
  if ("changes" in cc) return cc;
  return { changes: [{ type: cc.type, nodeId: cc.nodeId }], context: cc.context };
}

function transitionOf(cc: ConfChangeV2): ConfChangeTransition {
  return cc.transition ?? ConfChangeTransition.ConfChangeTransitionAuto;
}

/** Does the change use joint consensus, and does raft leave it by itself? */
export function entersJoint(cc: ConfChangeV2): { readonly autoLeave: boolean } | undefined {
  const transition = transitionOf(cc);
  if (transition === ConfChangeTransition.ConfChangeTransitionAuto && cc.changes.length <= 1) return undefined;
  return { autoLeave: transition !== ConfChangeTransition.ConfChangeTransitionJointExplicit };
}

/** A change without changes leaves the joint configuration. */
export function leavesJoint(cc: ConfChangeV2): boolean {
  return transitionOf(cc) === ConfChangeTransition.ConfChangeTransitionAuto && cc.changes.length === 0;
}

/** The log entry of a change, term and index still 0. Undefined: leave the joint configuration, with an empty payload. */
export function confChangeEntry(cc: AnyConfChange | undefined): Entry {
  if (cc === undefined) return { term: 0, index: 0, type: EntryType.EntryConfChangeV2, data: noData };
  if ("changes" in cc) return { term: 0, index: 0, type: EntryType.EntryConfChangeV2, data: encodeConfChangeV2(cc) };
  return { term: 0, index: 0, type: EntryType.EntryConfChange, data: encodeConfChange(cc) };
}

/** The change in a log entry, undefined if it is a normal one. @throws RaftError if the payload cannot be decoded. */
export function confChangeOf(entry: Entry): AnyConfChange | undefined {
  switch (entry.type) {
    case EntryType.EntryConfChange:
      return decodeConfChange(entry.data);
    case EntryType.EntryConfChangeV2:
      return decodeConfChangeV2(entry.data);
    default:
      return undefined;
  }
}

const letters: ReadonlyMap<string, ConfChangeType> = new Map([
  ["v", ConfChangeType.ConfChangeAddNode],
  ["l", ConfChangeType.ConfChangeAddLearnerNode],
  ["r", ConfChangeType.ConfChangeRemoveNode],
  ["u", ConfChangeType.ConfChangeUpdateNode],
]);
const letterOf = new Map([...letters].map(([letter, type]) => [type, letter]));

/** `v1 l2 r3 u4`: make a voter, make a learner, remove, update. */
export function describeConfChanges(changes: readonly ConfChangeSingle[]): string {
  return changes.map((cc) => `${letterOf.get(cc.type) ?? "unknown"}${cc.nodeId}`).join(" ");
}

/** The inverse of `describeConfChanges`. @throws RaftError on anything else. */
export function parseConfChanges(text: string): ConfChangeSingle[] {
  const trimmed = text.trim();
  if (trimmed === "") return [];
  return trimmed.split(" ").map((token) => {
    if (token.length < 2) throw new RaftError(`unknown token ${token}`);
    const type = letters.get(token[0]!);
    if (type === undefined) throw new RaftError(`unknown input: ${token}`);
    return { type, nodeId: parseNodeId(token.slice(1)) };
  });
}

/** A uint64; refusals in the words of Go's number parser. */
function parseNodeId(text: string): bigint {
  const refuse = (why: string) => new RaftError(`strconv.ParseUint: parsing ${JSON.stringify(text)}: ${why}`);
  if (!/^\d+$/.test(text)) throw refuse("invalid syntax");
  const id = BigInt(text);
  if (id >= 1n << 64n) throw refuse("value out of range");
  return id;
}
