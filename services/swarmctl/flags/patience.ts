/** Pure: no clock, no I/O, no randomness. */
import { patienceLabels } from "@starling/api";
import type { FlagDefinition } from "../command.ts";

/** How long managers wait for silent nodes: of the whole cluster, or of one node. */
export interface PatienceFlags {
  readonly alertAfter?: string;
  readonly moveAfter?: string;
  readonly restartGrace?: string;
}

export const patienceFlags: readonly FlagDefinition[] = [
  { flags: "--alert-after <duration>", help: "Silence after which a node is not ready (3 heartbeat periods)" },
  { flags: "--move-after <duration>", help: "Silence after which a node's tasks run elsewhere (as --alert-after)" },
  { flags: "--restart-grace <duration>", help: "As --move-after, while only swarmd is away (60s)" },
];

/** The labels with what the flags say; an empty value takes the setting back. Managers refuse what is no duration. */
export function withPatience(labels: Readonly<Record<string, string>>, flags: PatienceFlags): Record<string, string> {
  const next = { ...labels };
  for (const key of ["alertAfter", "moveAfter", "restartGrace"] as const) {
    const value = flags[key];
    if (value === "") delete next[patienceLabels[key]];
    else if (value !== undefined) next[patienceLabels[key]] = value;
  }
  return next;
}
