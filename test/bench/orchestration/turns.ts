import { type ThreadTimes, threadTimes } from "../thread-times.ts";

export interface TurnFigures {
  /** CPU time of the longest turn, to a tick of the kernel (4 ms) and a sample. */
  readonly longestMs: number;
  readonly p99Ms: number;
  /** How long the event loop did not come to a timer that was due. */
  readonly delayMaxMs: number;
  readonly delayP99Ms: number;
  /** The window that lasted longest. */
  readonly slowest: ThreadTimes;
}

const sampleMs = 2;

/**
 * What the main thread's turns of the event loop cost it, and how long they were held up by others: a timer that is due at every
 * turn reads the kernel's account of the thread, so that between two samples there is one turn, or several short ones.
 */
export class TurnWatch {
  #windows: ThreadTimes[] = [];
  #last = threadTimes();

  #timer: NodeJS.Timeout | undefined;

  /** Begins anew. Looking takes CPU time itself: 500 times a second the kernel is asked. */
  start(): void {
    this.stop();
    this.#windows = [];
    this.#last = threadTimes();
    this.#timer = setInterval(() => this.#note(), sampleMs);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Undefined when nobody looked. */
  figures(): TurnFigures | undefined {
    if (this.#windows.length === 0) return undefined;
    const ran = this.#windows.map(({ ranMs }) => ranMs).sort((a, b) => b - a);
    const slowest = this.#windows.reduce((most, each) => (each.wallMs > most.wallMs ? each : most));
    const delays = this.#windows.map(({ wallMs }) => Math.max(0, wallMs - sampleMs)).sort((a, b) => b - a);
    const p99 = Math.floor(delays.length / 100);
    return { longestMs: ran[0]!, p99Ms: ran[p99]!, delayMaxMs: delays[0]!, delayP99Ms: delays[p99]!, slowest };
  }

  #note(): void {
    const now = threadTimes();
    const { wallMs, ranMs, waitedMs } = this.#last;
    this.#windows.push({
      wallMs: now.wallMs - wallMs,
      ranMs: now.ranMs - ranMs,
      waitedMs: now.waitedMs - waitedMs,
    });
    this.#last = now;
  }
}
