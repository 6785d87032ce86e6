/** Pure: no clock, no I/O, no randomness. */

import { ContainerSpec_Ulimit } from "@starling/api";
import { UsageError } from "../usage-error.ts";
import { parseCount } from "./values.ts";

/** `nofile=1024:2048`, `nproc=100` (hard as soft). -1 is unlimited. */
export function parseUlimit(text: string): ContainerSpec_Ulimit {
  const match = /^([a-z]+)=(-?\d+)(?::(-?\d+))?$/.exec(text);
  if (!match) throw new UsageError(`"${text}" is not a ulimit: write NAME=SOFT or NAME=SOFT:HARD`);
  const soft = parseCount(match[2]!, -1);
  const hard = match[3] === undefined ? soft : parseCount(match[3], -1);
  if (hard !== -1 && (soft > hard || soft === -1)) {
    throw new UsageError(`"${text}" is not a ulimit: the soft limit is above the hard one`);
  }
  return ContainerSpec_Ulimit.create({ name: match[1]!, soft, hard });
}
