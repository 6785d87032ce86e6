/** Pure: no clock, no I/O, no randomness. */
import type { Task } from "@starling/api";
import { FatalTaskError } from "../exec/controller.ts";

export interface LogRotation {
  readonly maxBytes: number;
  readonly maxFiles: number;
}

const defaultRotation: LogRotation = { maxBytes: 10 << 20, maxFiles: 3 };
const units: Readonly<Record<string, number>> = { "": 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/**
 * How a task's output is kept: `json-file` (also the default, and what `local` means here) with `max-size` and
 * `max-file`; undefined for `none`. By default 3 files of 10 MiB. Other drivers throw FatalTaskError.
 */
export function logRotationOf(task: Task): LogRotation | undefined {
  const driver = task.logDriver ?? task.spec.logDriver;
  const name = driver?.name ?? "";
  if (name === "none") return undefined;
  if (!["", "json-file", "local"].includes(name)) {
    throw new FatalTaskError(`log driver ${JSON.stringify(name)}: not here, use json-file, local or none`);
  }
  const size = driver?.options["max-size"];
  const files = driver?.options["max-file"];
  return {
    maxBytes: size === undefined ? defaultRotation.maxBytes : parseSize(size),
    maxFiles: files === undefined ? defaultRotation.maxFiles : parseCount(files),
  };
}

function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([bkmg]?)(?:i?b)?$/i.exec(text);
  const bytes = match ? Math.floor(Number(match[1]) * units[match[2]!.toLowerCase()]!) : 0;
  if (bytes < 4096) throw new FatalTaskError(`log option max-size=${text}: must be a size of at least 4k, such as 10m`);
  return bytes;
}

function parseCount(text: string): number {
  const count = /^\d+$/.test(text) ? Number(text) : 0;
  if (count < 1 || count > 1000) throw new FatalTaskError(`log option max-file=${text}: must be 1 to 1000`);
  return count;
}
