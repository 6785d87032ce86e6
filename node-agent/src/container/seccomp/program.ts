/** Pure: no clock, no I/O, no randomness. */
import type { SeccompAction, SeccompArgument, SeccompProfile, SeccompRule } from "./profile.ts";
import { isKnownName, type SystemCallTable, tablesOf } from "./system-calls.ts";

/** One `struct sock_filter` (linux/filter.h). */
export interface Instruction {
  readonly code: number;
  readonly ifTrue: number;
  readonly ifFalse: number;
  readonly k: number;
}

const LOAD = 0x20; // BPF_LD | BPF_W | BPF_ABS
const RETURN = 0x06; // BPF_RET | BPF_K
const JUMP = 0x05; // BPF_JMP | BPF_JA
const IF_EQUAL = 0x15;
const IF_GREATER = 0x25;
const IF_AT_LEAST = 0x35;
const AND = 0x54; // BPF_ALU | BPF_AND | BPF_K

/** Offsets in `struct seccomp_data`. */
const callOffset = 0;
const abiOffset = 4;
const argumentsOffset = 16;

const instructionsMax = 4096;
const ENOSYS = 38;
const allow: SeccompAction = { kind: "allow", errno: 0 };

const results: Readonly<Record<SeccompAction["kind"], number>> = {
  "kill-process": 0x80000000,
  kill: 0,
  trap: 0x00030000,
  errno: 0x00050000,
  trace: 0x7ff00000,
  log: 0x7ffc0000,
  allow: 0x7fff0000,
};

/**
 * The program of a profile in hexadecimal, as a bundle's spec takes it, for a machine (`x64`, `arm64`) and the
 * container's capabilities. Calls newer than all that the profile names answer ENOSYS where it would refuse them, so that
 * programs fall back; calls of ABIs that it does not list do so, too. Throws an Error when it is longer than the kernel
 * takes.
 */
export function seccompProgram(
  profile: SeccompProfile,
  options: { readonly architecture: string; readonly capabilities: readonly string[] },
): string {
  return instructionsOf(profile, options).map(hexOf).join("");
}

export function instructionsOf(
  profile: SeccompProfile,
  { architecture, capabilities }: { readonly architecture: string; readonly capabilities: readonly string[] },
): readonly Instruction[] {
  const rules = profile.rules.filter((rule) => counts(rule, architecture, capabilities));
  const unknown = rules.flatMap(({ names }) => names).find((name) => !/^[a-z_0-9]{1,64}$/.test(name));
  if (unknown !== undefined) throw new Error(`${JSON.stringify(unknown)} is not a system call's name`);
  const program: Instruction[] = [load(abiOffset)];
  for (const [name, table] of Object.entries(tablesOf(architecture))) {
    const isOwn = name === Object.keys(tablesOf(architecture))[0];
    if (!isOwn && !profile.architectures.includes(name)) continue;
    const body = [load(callOffset), ...decisions(profile, rules, table)];
    program.push(jump(IF_EQUAL, table.audit, 1, 0), { code: JUMP, ifTrue: 0, ifFalse: 0, k: body.length }, ...body);
  }
  program.push(answer({ kind: "errno", errno: ENOSYS }));
  if (program.length > instructionsMax) {
    throw new Error(`the profile makes ${program.length} instructions, the kernel takes ${instructionsMax}`);
  }
  return program;
}

function counts(rule: SeccompRule, architecture: string, capabilities: readonly string[]): boolean {
  const here = architecture === "x64" ? ["amd64"] : ["arm64"];
  const has = (names: readonly string[]) => names.some((name) => capabilities.includes(name));
  const isHere = (names: readonly string[]) => names.some((name) => here.includes(name));
  return (
    (rule.architectures.length === 0 || isHere(rule.architectures)) &&
    !isHere(rule.exceptArchitectures) &&
    (rule.capabilities.length === 0 || rule.capabilities.every((name) => capabilities.includes(name))) &&
    !has(rule.exceptCapabilities) &&
    rule.names.some(isKnownName)
  );
}

/** Calls from `first` on that are answered alike. */
interface Run {
  readonly first: number;
  readonly code: readonly Instruction[];
}

/** A balanced tree over runs of call numbers: a dozen comparisons for any call. */
function decisions(
  profile: SeccompProfile,
  rules: readonly SeccompRule[],
  { numbers }: SystemCallTable,
): Instruction[] {
  const byNumber = new Map<number, SeccompRule[]>();
  for (const rule of rules) {
    for (const name of rule.names) {
      const number = numbers.get(name);
      if (number !== undefined) byNumber.set(number, [...(byNumber.get(number) ?? []), rule]);
    }
  }
  const newest = Math.max(0, ...byNumber.keys());
  const runs: Run[] = [];
  const add = (first: number, code: readonly Instruction[]) => {
    const last = runs.at(-1);
    const isSame = last !== undefined && code.length === 1 && last.code.length === 1 && last.code[0]!.k === code[0]!.k;
    if (!isSame) runs.push({ first, code });
  };
  for (let number = 0; number <= newest; number++)
    add(number, leafOf(byNumber.get(number) ?? [], profile.defaultAction));
  const refuses = profile.defaultAction.kind !== "allow" && profile.defaultAction.kind !== "log";
  add(newest + 1, [answer(refuses ? { kind: "errno", errno: ENOSYS } : profile.defaultAction)]);
  return treeOf(runs);
}

function treeOf(runs: readonly Run[]): Instruction[] {
  if (runs.length === 1) return [...runs[0]!.code];
  const middle = runs.length >> 1;
  const below = treeOf(runs.slice(0, middle));
  const rest = treeOf(runs.slice(middle));
  // Conditional jumps reach 255 instructions, the plain one anywhere.
  return [
    jump(IF_AT_LEAST, runs[middle]!.first, 0, 1),
    { code: JUMP, ifTrue: 0, ifFalse: 0, k: below.length },
    ...below,
    ...rest,
  ];
}

/** Rules with arguments come first, in their order; then the first without; then the default. */
function leafOf(rules: readonly SeccompRule[], otherwise: SeccompAction): Instruction[] {
  const plain = rules.find(({ args }) => args.length === 0);
  const last = plain?.action ?? otherwise;
  const conditional = rules.filter(({ args, action }) => args.length > 0 && answer(action).k !== answer(last).k);
  return [...conditional.flatMap(conditionOf), answer(last)];
}

/** Falls through to what follows when an argument does not pass. */
function conditionOf({ args, action }: SeccompRule): Instruction[] {
  let code: Instruction[] = [answer(action)];
  for (const arg of [...args].reverse()) code = [...testOf(arg, code.length), ...code];
  return code;
}

/** Goes on with the next instruction when `arg` passes, else skips `rest` more behind the test. */
function testOf({ index, value, valueTwo, operator }: SeccompArgument, rest: number): Instruction[] {
  const low = argumentsOffset + 8 * index;
  const high = low + 4;
  const halves = (word: bigint) => ({ high: Number(word >> 32n) >>> 0, low: Number(word & 0xffffffffn) });
  const both = halves(value);
  switch (operator) {
    case "eq":
      return [load(high), jump(IF_EQUAL, both.high, 0, 2 + rest), load(low), jump(IF_EQUAL, both.low, 0, rest)];
    case "ne":
      return [load(high), jump(IF_EQUAL, both.high, 0, 2), load(low), jump(IF_EQUAL, both.low, rest, 0)];
    case "masked-eq": {
      const wanted = halves(valueTwo);
      return [
        load(high),
        { code: AND, ifTrue: 0, ifFalse: 0, k: both.high },
        jump(IF_EQUAL, wanted.high, 0, 3 + rest),
        load(low),
        { code: AND, ifTrue: 0, ifFalse: 0, k: both.low },
        jump(IF_EQUAL, wanted.low, 0, rest),
      ];
    }
    case "gt":
    case "ge": {
      const lowTest = operator === "gt" ? IF_GREATER : IF_AT_LEAST;
      return [
        load(high),
        jump(IF_GREATER, both.high, 3, 0),
        jump(IF_EQUAL, both.high, 0, 2 + rest),
        load(low),
        jump(lowTest, both.low, 0, rest),
      ];
    }
    case "lt":
    case "le": {
      const lowTest = operator === "lt" ? IF_AT_LEAST : IF_GREATER;
      return [
        load(high),
        jump(IF_GREATER, both.high, 3 + rest, 0),
        jump(IF_EQUAL, both.high, 0, 2),
        load(low),
        jump(lowTest, both.low, rest, 0),
      ];
    }
  }
}

function load(offset: number): Instruction {
  return { code: LOAD, ifTrue: 0, ifFalse: 0, k: offset };
}

function jump(code: number, k: number, ifTrue: number, ifFalse: number): Instruction {
  if (ifTrue > 255 || ifFalse > 255) throw new Error("a rule has more arguments than a filter can test");
  return { code, ifTrue, ifFalse, k };
}

function answer(action: SeccompAction = allow): Instruction {
  return { code: RETURN, ifTrue: 0, ifFalse: 0, k: (results[action.kind] | action.errno) >>> 0 };
}

/** Little-endian, as on every machine that it runs on. */
function hexOf({ code, ifTrue, ifFalse, k }: Instruction): string {
  const bytes = [code & 0xff, code >> 8, ifTrue, ifFalse, k & 0xff, (k >>> 8) & 0xff, (k >>> 16) & 0xff, k >>> 24];
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
