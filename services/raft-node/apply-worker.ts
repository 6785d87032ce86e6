import type { Clock, Millis } from "@starling/base";
import type { Entry, Message } from "raft-ts";
import type { NextTurn } from "./next-turn.ts";

export interface ApplyWorkerOptions {
  readonly clock: Clock;
  readonly nextTurn: NextTurn;
  /** Applies one committed entry. What it throws ends the node: replicas must not differ. */
  readonly apply: (entry: Entry) => void;
  /** A message's entries are all applied. */
  readonly deliver: (responses: readonly Message[]) => void;
  /** The queue is empty. */
  readonly idle: () => void;
  readonly fatal: (error: unknown) => void;
}

/** After so long other events get their turn. */
const sliceMs: Millis = 8;

/** Raft's apply thread: takes MsgStorageApply in order and applies its entries in slices that never stall the process. */
export class ApplyWorker {
  readonly #options: ApplyWorkerOptions;
  #queue: Message[] = [];
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(options: ApplyWorkerOptions) {
    this.#options = options;
  }

  enqueue(message: Message): void {
    if (this.#stopped) return;
    this.#queue.push(message);
    this.#running ??= this.#run();
  }

  /** Resolves when all that was handed over is applied. */
  async drained(): Promise<void> {
    await this.#running;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#queue = [];
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, nextTurn, apply, deliver, idle, fatal } = this.#options;
    // Callers go on first: what they do next must not see half of their own call.
    await undefined;
    let sliceStart = clock.monotonic();
    try {
      while (this.#queue.length > 0) {
        const message = this.#queue.shift()!;
        for (const entry of message.entries) {
          if (this.#stopped) return;
          apply(entry);
          if (clock.monotonic() - sliceStart < sliceMs) continue;
          await new Promise<void>((resolve) => nextTurn(resolve));
          sliceStart = clock.monotonic();
        }
        deliver(message.responses ?? []);
        if (this.#queue.length === 0) idle();
      }
    } catch (thrown) {
      this.#stopped = true;
      fatal(thrown);
    } finally {
      this.#running = undefined;
    }
  }
}
