/** Pure: no clock, no I/O, no randomness. */
import { patienceLabels } from "@starling/api";
import type { FlagDefinition } from "../command.ts";

/** How long managers wait for silent nodes, and hold back those that come and go: of the whole cluster, or of one node. */
export interface PatienceFlags {
  readonly alertAfter?: string;
  readonly moveAfter?: string;
  readonly restartGrace?: string;
  readonly flapLosses?: string;
  readonly flapWindow?: string;
  readonly flapHold?: string;
}

export const patienceFlags: readonly FlagDefinition[] = [
  { flags: "--alert-after <duration>", help: "Silence after which a node is not ready (3 heartbeat periods)" },
  { flags: "--move-after <duration>", help: "Silence after which a node's tasks run elsewhere (as --alert-after)" },
  { flags: "--restart-grace <duration>", help: "As --move-after, while only swarmd is away (60s)" },
  { flags: "--flap-losses <count>", help: "Losses after which a node is held back at its return (3; 0: never)" },
  { flags: "--flap-window <duration>", help: "Time within which losses count together (10m)" },
  { flags: "--flap-hold <duration>", help: "How long it is held back, doubled with each loss more (30s)" },
];

/** The labels with what the flags say; an empty value takes the setting back. Managers refuse what is none. */
export function withPatience(labels: Readonly<Record<string, string>>, flags: PatienceFlags): Record<string, string> {
  const next = { ...labels };
  for (const key of Object.keys(patienceLabels) as (keyof typeof patienceLabels)[]) {
    const value = flags[key];
    if (value === "") delete next[patienceLabels[key]];
    else if (value !== undefined) next[patienceLabels[key]] = value;
  }
  return next;
}
