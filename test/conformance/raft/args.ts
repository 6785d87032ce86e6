import { noLimit } from "raft-ts";
import { type Arg, DataDrivenError, type Directive } from "./datadriven.ts";

/** Directive `d` is not as the grammar says: the file fails there. */
export function malformed(d: Directive, why: string): never {
  throw new DataDrivenError(d.line, `${d.command}: ${why}`);
}

export function toId(d: Directive, text: string): bigint {
  const id = /^\d+$/.test(text) ? BigInt(text) : undefined;
  if (id === undefined || id >= 1n << 64n) malformed(d, `${JSON.stringify(text)} is not a node id`);
  return id;
}

export function toNumber(d: Directive, text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) malformed(d, `${JSON.stringify(text)} is not a number`);
  return value;
}

/** A number of bytes; what is beyond any log is no limit. */
export function toSize(d: Directive, text: string): number {
  return toId(d, text) > BigInt(noLimit) ? noLimit : toNumber(d, text);
}

/** The spellings that Go's ParseBool takes. */
export function parseBool(text: string): boolean | undefined {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  return undefined;
}

export function toBool(d: Directive, text: string): boolean {
  return parseBool(text) ?? malformed(d, `${JSON.stringify(text)} is not a boolean`);
}

/** The key of the argument at `at`. */
export function keyAt(d: Directive, at: number): string {
  return d.args[at]?.key ?? malformed(d, `argument ${at + 1} is missing`);
}

/** The one value of the first `key=value`. */
export function onlyValue(d: Directive, key: string): string {
  const arg: Arg = d.args.find((a) => a.key === key) ?? malformed(d, `${key}= is missing`);
  const [value, ...others] = arg.values;
  return value === undefined || others.length > 0 ? malformed(d, `${key} must have one value`) : value;
}

/** The bare words as node ids. */
export function bareIds(d: Directive): bigint[] {
  return d.args.filter((a) => a.values.length === 0).map((a) => toId(d, a.key));
}
