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
  sortedIds,
  VoteResult,
} from "raft-ts";
import { malformed, toId, toNumber } from "./args.ts";
import type { Directive } from "./datadriven.ts";
import type { Handler } from "./run-file.ts";

interface Input {
  readonly config: JointConfig;
  readonly joint: boolean;
  /** Of voters of whom something is known. */
  readonly acked: ReadonlyMap<bigint, number>;
  readonly votes: ReadonlyMap<bigint, boolean>;
}

/** `_` stands for no knowledge of this voter. */
type Parsed = Input | { readonly mismatch: string };

function parse(d: Directive): Parsed {
  const listed: Record<"cfg" | "cfgj" | "idx" | "votes", string[]> = { cfg: [], cfgj: [], idx: [], votes: [] };
  for (const { key, values } of d.args) {
    if (values.length === 0) continue;
    if (!Object.hasOwn(listed, key)) malformed(d, `unknown argument ${key}`);
    listed[key as keyof typeof listed].push(...values);
    if (key === "cfgj" && values.includes("zero") && values.length > 1)
      malformed(d, "cannot mix 'zero' into configuration");
  }
  const ids = listed.cfg.map((v) => toId(d, v));
  const idsj = listed.cfgj.filter((v) => v !== "zero").map((v) => toId(d, v));
  for (const vote of listed.votes) if (!Object.hasOwn(voteNumbers, vote)) malformed(d, `unknown vote: ${vote}`);
  const indexes = listed.idx.map((v) => (v === "_" ? 0 : toIndex(d, v)));

  const config: JointConfig = { incoming: new Set(ids), outgoing: new Set(idsj) };
  const given = d.command === "vote" ? listed.votes : listed.idx;
  const distinct = [...new Set([...ids, ...idsj])];
  if (distinct.length !== given.length) {
    const voters = sortedIds(jointIds(config)).map((id) => `${id}:{}`);
    const shown = d.command === "vote" ? given.map((v) => voteNumbers[v]) : indexes;
    return {
      mismatch: `error: mismatched input (explicit or _) for voters map[${voters.join(" ")}]: [${shown.join(" ")}]`,
    };
  }
  return {
    config,
    joint: listed.cfgj.length > 0,
    acked: new Map(distinct.flatMap((id, i) => (indexes[i] ? [[id, indexes[i]] as const] : []))),
    votes: new Map(distinct.flatMap((id, i) => (given[i] === "_" ? [] : [[id, given[i] === "y"] as const]))),
  };
}

/** How the original's error shows votes. */
const voteNumbers: Readonly<Record<string, number>> = { _: 0, n: 1, y: 2 };

function toIndex(d: Directive, text: string): number {
  return toNumber(d, text) || malformed(d, "cannot use 0 as idx");
}

function committed({ config, joint, acked }: Input): string {
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

function vote({ config, joint, votes }: Input): string {
  const { incoming, outgoing } = config;
  if (!joint) return `${voteNames.get(majorityVoteResult(incoming, votes))}\n`;
  const result = jointVoteResult(config, votes);
  const swapped = jointVoteResult({ incoming: outgoing, outgoing: incoming }, votes);
  return `${swapped === result ? "" : `${voteNames.get(swapped)} <-- via symmetry\n`}${voteNames.get(result)}\n`;
}

/** The directives of quorum/testdata/. */
export function quorumHandler(): Handler {
  return (d) => {
    const input = parse(d);
    if ("mismatch" in input) return input.mismatch;
    if (d.command === "committed") return committed(input);
    if (d.command === "vote") return vote(input);
    return malformed(d, "unknown directive; there are committed and vote");
  };
}
