import type { Logger } from "@starling/base";
import { type FlushDue, joinDue } from "./flush.ts";
import { Turn } from "./turn.ts";

export interface FlusherOptions {
  /** Looks at the tracked connections that are due, and forgets those that nobody wants any more. */
  readonly look: (due: FlushDue) => Promise<void>;
  /** A look failed: all are due after the tables are brought in order another time. */
  readonly onRefused: () => void;
  readonly log: Logger;
}

/**
 * Which tracked connections are still to be looked at, and when. What ceased to serve is noted (`add`), taken by whoever brings
 * the tables in order, and due once the kernel has these (`applied`): no connection that is forgotten comes back by old tables.
 * Looks run behind: no table waits for one. One runs at a time; what falls due meanwhile is the next one's, all at once.
 */
export class Flusher {
  readonly #options: FlusherOptions;
  readonly #looks = new Turn(() => this.#look());
  /** Tables may lead to these still. */
  #noted: FlushDue = "all";
  /** Tables do not. */
  #due: FlushDue = [];
  /** Who waits for what is due. */
  #then: (() => void)[] = [];
  #closed = false;

  constructor(options: FlusherOptions) {
    this.#options = options;
  }

  add(due: FlushDue): void {
    this.#noted = joinDue(this.#noted, due);
  }

  take(): FlushDue {
    const noted = this.#noted;
    this.#noted = [];
    return noted;
  }

  /** The kernel's tables lead to none of `due` any more; `then` is called when its connections are forgotten, in the order of calls. */
  applied(due: FlushDue, then: () => void = () => {}): void {
    this.#due = joinDue(this.#due, due);
    this.#then.push(then);
    void this.#looks.run();
  }

  /** Resolves when what is due now has been looked at. */
  flushed(): Promise<void> {
    return this.#looks.run();
  }

  /** Begins no further look; resolves when none runs. What is due is the next swarmd's, which looks at all. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#looks.idle();
  }

  async #look(): Promise<void> {
    if (this.#closed) return;
    const due = this.#due;
    const then = this.#then;
    this.#due = [];
    this.#then = [];
    try {
      await this.#options.look(due);
      for (const done of then) done();
    } catch (error) {
      this.#options.log.warn("tracked connections could not be looked at", { error });
      this.add("all");
      this.#options.onRefused();
    }
  }
}
