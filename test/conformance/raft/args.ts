import { type Arg, DataDrivenError, type Directive } from "./datadriven.ts";

/** Directive `d` is not as the grammar says. */
export function malformed(d: Directive, why: string): never {
  throw new DataDrivenError(`line ${d.line}: ${d.command}: ${why}`);
}

export function toId(d: Directive, text: string): bigint {
  if (!/^\d+$/.test(text)) malformed(d, `${JSON.stringify(text)} is not a node id`);
  return BigInt(text);
}

export function toNumber(d: Directive, text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) malformed(d, `${JSON.stringify(text)} is not a number`);
  return value;
}

/** The spellings that Go's ParseBool takes. */
export function toBool(d: Directive, text: string): boolean {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  return malformed(d, `${JSON.stringify(text)} is not a boolean`);
}

/** The first argument, a bare word. */
export function firstKey(d: Directive, at = 0): string {
  return d.args[at]?.key ?? malformed(d, `argument ${at + 1} is missing`);
}

/** The only value of `key=value`. */
export function onlyValue(d: Directive, key: string): string | undefined {
  const arg: Arg | undefined = d.args.find((a) => a.key === key);
  if (arg === undefined) return undefined;
  return arg.values.length === 1 ? arg.values[0] : malformed(d, `${key} must have one value`);
}

/** The bare words as node ids. */
export function bareIds(d: Directive): bigint[] {
  return d.args.filter((a) => a.values.length === 0).map((a) => toId(d, a.key));
}
