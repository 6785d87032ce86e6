/** Pure: no clock, no I/O, no randomness. */
import { RaftError } from "../errors.ts";
import { sortedIds } from "../quorum/majority.ts";
import { emptyTrackerConfig } from "../tracker/tracker.ts";
import { type ConfChangeSingle, ConfChangeType, type ConfState } from "../types.ts";
import type { Changer, Membership } from "./changer.ts";

/**
 * The membership that `confState` describes, built by the changes that lead to it. For
 * `voters=(1 2 3) learners=(5) outgoing=(1 2 4 6) learners_next=(4)`: add 1, 2, 4, 6 one by one; then enter the joint
 * state removing those four, adding 1, 2, 3 and making 5 and 4 learners.
 * @throws RaftError if there is no such membership.
 */
export function restoreMembership(changer: Changer, confState: ConfState): Membership {
  const change =
    (type: ConfChangeType) =>
    (nodeId: bigint): ConfChangeSingle => ({ type, nodeId });
  const add = change(ConfChangeType.ConfChangeAddNode);
  const addLearner = change(ConfChangeType.ConfChangeAddLearnerNode);
  const remove = change(ConfChangeType.ConfChangeRemoveNode);

  const incoming = [
    ...confState.votersOutgoing.map(remove),
    ...confState.voters.map(add),
    ...confState.learners.map(addLearner),
    ...confState.learnersNext.map(addLearner),
  ];
  let membership: Membership = { config: emptyTrackerConfig, progress: new Map() };
  if (confState.votersOutgoing.length === 0) {
    for (const cc of incoming) membership = changer.simple(membership, [cc]);
    return membership;
  }
  for (const id of confState.votersOutgoing) membership = changer.simple(membership, [add(id)]);
  return changer.enterJoint(membership, incoming, confState.autoLeave);
}

/** Same membership, in whatever order? @throws RaftError showing both if not. */
export function mustBeEquivalent(a: ConfState, b: ConfState): void {
  const left = describe(a);
  const right = describe(b);
  if (left !== right) throw new RaftError(`ConfStates not equivalent after sorting:\n${left}\n${right}`);
}

function describe(cs: ConfState): string {
  const list = (ids: readonly bigint[]) => `[${sortedIds(ids).join(" ")}]`;
  return `Voters:${list(cs.voters)} VotersOutgoing:${list(cs.votersOutgoing)} Learners:${list(cs.learners)} LearnersNext:${list(cs.learnersNext)} AutoLeave:${cs.autoLeave}`;
}
