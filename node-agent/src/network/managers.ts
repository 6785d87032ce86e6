import type { NetworkInspection, NetworkStateMessage, NetworkStateReport } from "@starling/api";

/** Tells the managers something on the stream that is open. */
export type Report = (fields: Partial<NetworkStateReport>) => void;

/** What this node owes the managers: word of what it applied, and of tasks that take no new connections. */
export class Managers {
  readonly #leaving = new Set<string>();
  #report: Report | undefined;
  /** Sequence of the newest message that asks for word when it is applied. */
  #asked: number | undefined;

  /** Tasks of this host that are about to stop. */
  get leaving(): ReadonlySet<string> {
    return this.#leaving;
  }

  /** A stream was opened, or (undefined) the last one ended. */
  connected(report: Report | undefined): void {
    this.#report = report;
    this.#asked = undefined;
    if (this.#leaving.size > 0) report?.({ leaving: [...this.#leaving] });
  }

  received(message: NetworkStateMessage): void {
    if (message.acknowledge) this.#asked = message.sequence;
  }

  /**
   * To be called before a change is applied; what it returns, when the kernel has all of it and what it ends is forgotten. By then
   * there may be another stream, which counts anew.
   */
  applying(): () => void {
    const asked = this.#asked;
    const report = this.#report;
    return () => {
      if (asked === undefined || this.#asked === undefined || report !== this.#report) return;
      report?.({ applied: asked });
      if (this.#asked === asked) this.#asked = undefined;
    };
  }

  /** The task takes no new connections from now on; told again to each manager that this node comes to. */
  leave(taskId: string): void {
    this.#leaving.add(taskId);
    this.#report?.({ leaving: [taskId] });
  }

  forget(taskId: string): void {
    this.#leaving.delete(taskId);
  }

  answer(inspection: NetworkInspection): void {
    this.#report?.({ inspection });
  }
}
