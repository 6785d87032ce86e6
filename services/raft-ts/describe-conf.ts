/** Pure: no clock, no I/O, no randomness. */
import { asV2 } from "./confchange/conf-change.ts";
import { quote } from "./quote.ts";
import { type AnyConfChange, ConfChangeTransition, ConfChangeType, type ConfState } from "./types.ts";

function nameOf(numbers: Readonly<Record<string, number>>, value: number): string {
  return Object.keys(numbers).find((name) => numbers[name] === value) ?? String(value);
}

/** `transition:ConfChangeTransitionAuto changes:{type:ConfChangeAddNode node_id:2} context:"x"`. */
export function describeConfChange(change: AnyConfChange): string {
  const cc = asV2(change);
  let out = `transition:${nameOf(ConfChangeTransition, cc.transition ?? 0)}`;
  for (const { type, nodeId } of cc.changes) {
    out += ` changes:{type:${nameOf(ConfChangeType, type)} node_id:${nodeId}}`;
  }
  if (cc.context !== undefined && cc.context.length > 0) out += ` context:${quote(cc.context)}`;
  return out;
}

export function describeConfState(cs: ConfState): string {
  const list = (ids: readonly bigint[]) => `[${ids.join(" ")}]`;
  return (
    `Voters:${list(cs.voters)} VotersOutgoing:${list(cs.votersOutgoing)} Learners:${list(cs.learners)} ` +
    `LearnersNext:${list(cs.learnersNext)} AutoLeave:${cs.autoLeave}`
  );
}

/** The same as protobuf text, which one log line shows: `voters:1 voters:2 learners:3 auto_leave:false`. */
export function confStateText(cs: ConfState): string {
  const fields = (name: string, ids: readonly bigint[]) => ids.map((id) => `${name}:${id} `).join("");
  return `${fields("voters", cs.voters)}${fields("learners", cs.learners)}${fields("voters_outgoing", cs.votersOutgoing)}${fields("learners_next", cs.learnersNext)}auto_leave:${cs.autoLeave}`;
}
