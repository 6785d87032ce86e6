/** Pure: no clock, no I/O, no randomness. */

/** What the kernel does with a call. `errno` also carries the number of a trace. */
export interface SeccompAction {
  readonly kind: "allow" | "errno" | "kill" | "kill-process" | "trap" | "log" | "trace";
  readonly errno: number;
}

export type SeccompOperator = "eq" | "ne" | "lt" | "le" | "gt" | "ge" | "masked-eq";

/** A test of one argument; `masked-eq`: argument & value == valueTwo. */
export interface SeccompArgument {
  readonly index: number;
  readonly value: bigint;
  readonly valueTwo: bigint;
  readonly operator: SeccompOperator;
}

/** A rule for some calls: when every argument passes. */
export interface SeccompRule {
  readonly names: readonly string[];
  readonly action: SeccompAction;
  readonly args: readonly SeccompArgument[];
  /** Go's architectures; empty: all. */
  readonly architectures: readonly string[];
  readonly exceptArchitectures: readonly string[];
  /** It counts when the container has one of these; empty: always. */
  readonly capabilities: readonly string[];
  readonly exceptCapabilities: readonly string[];
}

export interface SeccompProfile {
  readonly defaultAction: SeccompAction;
  /** Names as libseccomp's (`SCMP_ARCH_X86`); empty: the machine's own. */
  readonly architectures: readonly string[];
  readonly rules: readonly SeccompRule[];
}

const EPERM = 1;
const errnoMax = 4095;

const kinds: Readonly<Record<string, SeccompAction["kind"]>> = {
  SCMP_ACT_ALLOW: "allow",
  SCMP_ACT_ERRNO: "errno",
  SCMP_ACT_KILL: "kill",
  SCMP_ACT_KILL_THREAD: "kill",
  SCMP_ACT_KILL_PROCESS: "kill-process",
  SCMP_ACT_TRAP: "trap",
  SCMP_ACT_LOG: "log",
  SCMP_ACT_TRACE: "trace",
};

const operators: Readonly<Record<string, SeccompOperator>> = {
  SCMP_CMP_EQ: "eq",
  SCMP_CMP_NE: "ne",
  SCMP_CMP_LT: "lt",
  SCMP_CMP_LE: "le",
  SCMP_CMP_GT: "gt",
  SCMP_CMP_GE: "ge",
  SCMP_CMP_MASKED_EQ: "masked-eq",
};

/**
 * A profile as engines take it: Docker's JSON, which is the OCI runtime's `linux.seccomp` with `archMap`, `includes` and
 * `excludes`. Throws an Error that names member and value. `minKernel` is met: kernels before 4.8 are not supported.
 */
export function parseSeccompProfile(text: string): SeccompProfile {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new Error(`profile: ${(error as Error).message}`);
  }
  const profile = objectOf(parsed, "profile");
  const errno = numberOf(profile["defaultErrnoRet"], "defaultErrnoRet", EPERM);
  return {
    defaultAction: actionOf(profile["defaultAction"], "defaultAction", errno),
    architectures: [
      ...stringsOf(profile["architectures"], "architectures"),
      ...listOf(profile["archMap"], "archMap").flatMap((item, i) => {
        const entry = objectOf(item, `archMap[${i}]`);
        const own = stringsOf([entry["architecture"]], `archMap[${i}].architecture`);
        return [...own, ...stringsOf(entry["subArchitectures"], `archMap[${i}].subArchitectures`)];
      }),
    ],
    rules: listOf(profile["syscalls"], "syscalls").map((item, i) => ruleOf(item, `syscalls[${i}]`, errno)),
  };
}

function ruleOf(item: unknown, path: string, defaultErrno: number): SeccompRule {
  const rule = objectOf(item, path);
  const single = rule["name"] === undefined ? [] : stringsOf([rule["name"]], `${path}.name`);
  const names = [...single, ...stringsOf(rule["names"], `${path}.names`)];
  if (names.length === 0) throw new Error(`${path}.names: must name a system call`);
  const includes = objectOf(rule["includes"] ?? {}, `${path}.includes`);
  const excludes = objectOf(rule["excludes"] ?? {}, `${path}.excludes`);
  return {
    names,
    action: actionOf(rule["action"], `${path}.action`, numberOf(rule["errnoRet"], `${path}.errnoRet`, defaultErrno)),
    args: listOf(rule["args"], `${path}.args`).map((arg, i) => argumentOf(arg, `${path}.args[${i}]`)),
    architectures: stringsOf(includes["arches"], `${path}.includes.arches`),
    exceptArchitectures: stringsOf(excludes["arches"], `${path}.excludes.arches`),
    capabilities: stringsOf(includes["caps"], `${path}.includes.caps`),
    exceptCapabilities: stringsOf(excludes["caps"], `${path}.excludes.caps`),
  };
}

function argumentOf(item: unknown, path: string): SeccompArgument {
  const arg = objectOf(item, path);
  const index = numberOf(arg["index"], `${path}.index`, 0);
  if (index > 5) throw new Error(`${path}.index: must be 0 to 5, not ${index}`);
  const operator = operators[String(arg["op"])];
  if (operator === undefined) throw new Error(`${path}.op: ${JSON.stringify(arg["op"])} is not a comparison`);
  return {
    index,
    value: wordOf(arg["value"], `${path}.value`),
    valueTwo: wordOf(arg["valueTwo"], `${path}.valueTwo`),
    operator,
  };
}

function actionOf(value: unknown, path: string, errno: number): SeccompAction {
  const kind = kinds[String(value)];
  if (kind === undefined) throw new Error(`${path}: ${JSON.stringify(value)} is not an action this node knows`);
  return { kind, errno: kind === "errno" || kind === "trace" ? errno : 0 };
}

function objectOf(value: unknown, path: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new Error(`${path}: must be an object`);
  return value as Record<string, unknown>;
}

function listOf(value: unknown, path: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new Error(`${path}: must be a list`);
  return value;
}

function stringsOf(value: unknown, path: string): readonly string[] {
  return listOf(value, path).map((item) => {
    if (typeof item !== "string") throw new Error(`${path}: must be a list of names`);
    return item;
  });
}

function numberOf(value: unknown, path: string, fallback: number): number {
  if (value === undefined || value === null) return fallback;
  if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > errnoMax) {
    throw new Error(`${path}: must be a whole number from 0 to ${errnoMax}`);
  }
  return value as number;
}

/** 64 bits; JSON's numbers hold 53 of them exactly, and nothing that profiles compare is longer. */
function wordOf(value: unknown, path: string): bigint {
  if (value === undefined || value === null) return 0n;
  if (!Number.isSafeInteger(value) || (value as number) < 0)
    throw new Error(`${path}: must be a whole number below 2^53`);
  return BigInt(value as number);
}
