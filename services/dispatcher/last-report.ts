/** Pure: no clock, no I/O, no randomness. */
import { TaskStatus, type Timestamp, timestampOfMs } from "@starling/api";

/**
 * What the report that was applied last said. Most reports of a moment say the same words, many in the same millisecond: with the
 * parts of the last in place of their own equals, 100,000 tasks do not each keep a copy.
 */
export class LastReport {
  #status = TaskStatus.create();

  /** `reported`, as this manager took it at `nowMs`. */
  applied(reported: TaskStatus, appliedBy: string, nowMs: number): TaskStatus {
    const { message, err, timestamp, appliedAt } = this.#status;
    this.#status = {
      ...reported,
      timestamp: sameMoment(timestamp, reported.timestamp),
      message: sameText(message, reported.message),
      err: sameText(err, reported.err),
      appliedBy,
      appliedAt: sameMoment(appliedAt, timestampOfMs(nowMs)),
    };
    return this.#status;
  }
}

function sameMoment(last: Timestamp | undefined, now: Timestamp | undefined): Timestamp | undefined {
  return last?.seconds === now?.seconds && last?.nanos === now?.nanos ? last : now;
}

/** Equal strings may be two in memory. */
const sameText = (last: string, now: string): string => (last === now ? last : now);
