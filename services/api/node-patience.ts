/** Pure: no clock, no I/O, no randomness. */
import { SwarmError } from "@starling/base/errors";

/**
 * How long managers wait for a node that fell silent. Set by labels of the cluster (`ClusterSpec.annotations`) and, for one
 * node, of the node (`NodeSpec.annotations`), whose word counts more.
 *
 * Invariant: alertMs <= moveMs.
 */
export interface NodePatience {
  /** Silence after which a node is no longer shown as ready and gets no new tasks. Default: three heartbeat periods. */
  readonly alertMs: number;
  /** Silence after which a node counts as lost and its tasks are replaced. Default: as alertMs. */
  readonly moveMs: number;
  /** As moveMs, when the host is known to live: it answers, or its swarmd took leave to be restarted. Default: 60 s. */
  readonly graceMs: number;
}

export const patienceLabels = {
  alertAfter: "io.starling.node.alert-after",
  moveAfter: "io.starling.node.move-after",
  restartGrace: "io.starling.node.restart-grace",
} as const;

/** Periods missed until a node is no longer ready. */
const alertPeriods = 3;
/** A node that beats in time must never be taken for silent. */
const alertPeriodsMin = 2;
const defaultGraceMs = 60_000;
const limitMs = 7 * 24 * 3_600_000;

type Labels = Readonly<Record<string, string>>;

/** What the labels say; values that are none are passed over (validation refuses them at the edge). */
export function nodePatience(cluster: Labels, node: Labels, heartbeatPeriodMs: number): NodePatience {
  const read = (key: string): number | undefined => parseLabel(node[key]) ?? parseLabel(cluster[key]);
  const alertMs = Math.max(
    read(patienceLabels.alertAfter) ?? heartbeatPeriodMs * alertPeriods,
    heartbeatPeriodMs * alertPeriodsMin,
  );
  return {
    alertMs,
    moveMs: Math.max(alertMs, read(patienceLabels.moveAfter) ?? alertMs),
    graceMs: read(patienceLabels.restartGrace) ?? defaultGraceMs,
  };
}

/** Throws InvalidArgument for a label of ours whose value is not a duration. */
export function checkPatienceLabels(labels: Labels): void {
  for (const key of Object.values(patienceLabels)) {
    const value = labels[key];
    if (value === undefined || parseLabel(value) !== undefined) continue;
    throw new SwarmError(
      "InvalidArgument",
      `label ${key}=${JSON.stringify(value)} is not a duration of at most 168h: write it as in 500ms, 10s or 1m30s`,
    );
  }
}

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Milliseconds of a duration such as `1m30s`; undefined for what is none. */
function parseLabel(text: string | undefined): number | undefined {
  if (text === "0") return 0;
  if (text === undefined || text.length > 32 || !/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) return undefined;
  let ms = 0;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)) ms += Number(number) * unitMs[unit!]!;
  return ms <= limitMs ? ms : undefined;
}
