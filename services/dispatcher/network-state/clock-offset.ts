/** Pure: no clock, no I/O, no randomness. */
import { NetworkFinding } from "@starling/api";

/** Certificates, and who follows logs over hosts, bear this much. */
const toleratedMs = 1_000;

/**
 * What is wrong with a node's clock. `asked` and `answered` are moments of the leader's clock between which the node read
 * its own as `clockMs` (0: it didn't say): so what lies between them counts for the node.
 */
export function judgeClock(times: {
  readonly asked: number;
  readonly answered: number;
  readonly clockMs: number;
}): readonly NetworkFinding[] {
  const { asked, answered, clockMs } = times;
  if (clockMs === 0) return [];
  const offset = clockMs < asked ? clockMs - asked : Math.max(0, clockMs - answered);
  if (Math.abs(offset) <= toleratedMs) return [];
  const amount = `${(Math.abs(offset) / 1000).toFixed(1)} s ${offset < 0 ? "behind" : "ahead of"}`;
  const detail = `this node's clock is ${amount} the leader's: have both follow NTP, as certificates hold by the clock`;
  return [NetworkFinding.create({ subject: "clock", detail })];
}
