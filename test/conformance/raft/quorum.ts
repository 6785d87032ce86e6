import {
  type AckedIndexer,
  describeIndex,
  describeJointProgress,
  describeMajorityProgress,
  type JointConfig,
  jointCommittedIndex,
  jointIds,
  jointVoteResult,
  majorityCommittedIndex,
  majorityVoteResult,
  VoteResult,
} from "raft-ts";
import { malformed, toId, toNumber } from "./args.ts";
import type { Directive } from "./datadriven.ts";

interface Input {
  readonly config: JointConfig;
  readonly joint: boolean;
  /** One text per distinct id, in order of first mention; `_` = unknown. */
  readonly given: ReadonlyMap<bigint, string>;
}

function parse(d: Directive): Input | string {
  const lists = new Map(d.args.map(({ key, values }) => [key, values]));
  for (const key of lists.keys()) {
    if (!["cfg", "cfgj", "idx", "votes"].includes(key)) malformed(d, `unknown argument ${key}`);
  }
  const ids = (lists.get("cfg") ?? []).map((v) => toId(d, v));
  const cfgj = lists.get("cfgj") ?? [];
  if (cfgj.includes("zero") && cfgj.length > 1) malformed(d, "cannot mix 'zero' into configuration");
  const idsj = cfgj[0] === "zero" ? [] : cfgj.map((v) => toId(d, v));
  const config: JointConfig = { incoming: new Set(ids), outgoing: new Set(idsj) };
  const values = lists.get(d.command === "vote" ? "votes" : "idx") ?? [];
  const distinct = [...new Set([...ids, ...idsj])];
  if (distinct.length !== values.length) {
    const voters = [...jointIds(config)].sort((a, b) => (a < b ? -1 : 1)).map((id) => `${id}:{}`);
    const shown = values.map((v) => ({ _: "0", n: "1", y: "2" })[v] ?? v);
    return `error: mismatched input (explicit or _) for voters map[${voters.join(" ")}]: [${shown.join(" ")}]`;
  }
  return { config, joint: cfgj.length > 0, given: new Map(distinct.map((id, i) => [id, values[i]!])) };
}

function committed(d: Directive, { config, joint, given }: Input): string {
  const acked = new Map<bigint, number>();
  for (const [id, text] of given) {
    if (text === "_") continue;
    const index = toNumber(d, text);
    if (index === 0) malformed(d, "cannot use 0 as idx");
    acked.set(id, index);
  }
  const indexer: AckedIndexer = (id) => acked.get(id);
  const { incoming, outgoing } = config;
  if (joint) {
    const index = jointCommittedIndex(config, indexer);
    const swapped = jointCommittedIndex({ incoming: outgoing, outgoing: incoming }, indexer);
    return `${describeJointProgress(config, indexer) + differs(swapped, index, "symmetry")}${describeIndex(index)}\n`;
  }
  const index = majorityCommittedIndex(incoming, indexer);
  let out = describeMajorityProgress(incoming, indexer);
  out += differs(slowCommittedIndex(incoming, acked), index, "alternative computation");
  out += differs(jointCommittedIndex({ incoming, outgoing: new Set() }, indexer), index, "zero-joint quorum");
  out += differs(jointCommittedIndex({ incoming, outgoing: incoming }, indexer), index, "self-joint quorum");
  for (const [id, own] of acked) {
    // Who is below the committed index plays no part in it: lowering it further changes nothing.
    if (own >= index) continue;
    for (const lower of [own - 1, 0]) {
      const overlaid = majorityCommittedIndex(incoming, (i) => (i === id ? lower : acked.get(i)));
      if (overlaid !== index) out += `${describeIndex(overlaid)} <-- overlaying ${id}->${lower}`;
    }
  }
  return `${out}${describeIndex(index)}\n`;
}

function differs(other: number, index: number, via: string): string {
  return other === index ? "" : `${describeIndex(other)} <-- via ${via}\n`;
}

/** By definition: the largest index that more than half have reached. */
function slowCommittedIndex(voters: ReadonlySet<bigint>, acked: ReadonlyMap<bigint, number>): number {
  if (voters.size === 0) return Number.POSITIVE_INFINITY;
  const reached = (index: number) => [...voters].filter((id) => (acked.get(id) ?? 0) >= index).length;
  return Math.max(0, ...[...acked.values()].filter((index) => reached(index) > voters.size / 2));
}

const voteNames = new Map<VoteResult, string>(Object.entries(VoteResult).map(([name, value]) => [value, name]));

function vote(d: Directive, { config, joint, given }: Input): string {
  const votes = new Map<bigint, boolean>();
  for (const [id, text] of given) {
    if (text === "_") continue;
    if (text !== "y" && text !== "n") malformed(d, `unknown vote: ${text}`);
    votes.set(id, text === "y");
  }
  const { incoming, outgoing } = config;
  if (!joint) return `${voteNames.get(majorityVoteResult(incoming, votes))}\n`;
  const result = jointVoteResult(config, votes);
  const swapped = jointVoteResult({ incoming: outgoing, outgoing: incoming }, votes);
  return `${swapped === result ? "" : `${voteNames.get(swapped)} <-- via symmetry\n`}${voteNames.get(result)}\n`;
}

/** The directives of quorum/testdata/. */
export function quorumHandler(): (d: Directive) => string {
  return (d) => {
    const input = parse(d);
    if (typeof input === "string") return input;
    if (d.command === "committed") return committed(d, input);
    if (d.command === "vote") return vote(d, input);
    return malformed(d, "unknown command");
  };
}
