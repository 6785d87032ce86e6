import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { trimMemory } from "@starling/native";

/** Between two sweeps. One takes about a millisecond, and what 8 MiB of a stream leave behind is twice that. */
const sweepBytes = 8 << 20;
/** Less leaves nothing behind that is worth a sweep at the end. */
const littleBytes = 1 << 20;

/** What frees memory. */
export interface Sweeper {
  /** Has V8 free what was allocated lately and is not used any more. */
  collect(): void;
  /** Has the C library give freed memory back to the kernel. */
  trim(): void;
}

/**
 * Has the buffers of streams freed that have passed through. They lie outside V8's heap, which counts little of them: it
 * lets 60 MB of dead ones pile up before it looks.
 */
export class DeadBuffers {
  readonly #sweeper: Sweeper;
  #streams = 0;
  /** Since the last sweep. */
  #bytes = 0;
  /** Since no stream was open. */
  #total = 0;

  constructor(sweeper: Sweeper) {
    this.#sweeper = sweeper;
  }

  /** Does `work`, in which streams are open. What they leave behind is given back once no others are. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#streams++;
    try {
      return await work();
    } finally {
      if (--this.#streams === 0) this.#end();
    }
  }

  /** Told of bytes that were read from one stream and written to another. */
  passed(count: number): void {
    this.#total += count;
    this.#bytes += count;
    if (this.#bytes < sweepBytes) return;
    this.#bytes = 0;
    this.#sweeper.collect();
  }

  #end(): void {
    const isLittle = this.#total < littleBytes;
    this.#bytes = 0;
    this.#total = 0;
    if (isLittle) return;
    this.#sweeper.collect();
    // A collection leaves the freeing of buffers to another thread; the next begins when that is done.
    this.#sweeper.collect();
    this.#sweeper.trim();
  }
}

/** Those of this process. */
export const deadBuffers = new DeadBuffers(ownProcess());

/** V8's collector comes by a context that is made while the flag is set: set for all of the process, it would make each start slower. */
function ownProcess(): Sweeper {
  let collector: NodeJS.GCFunction | undefined;
  return {
    collect() {
      if (collector === undefined) {
        setFlagsFromString("--expose-gc");
        collector = runInNewContext("gc") as NodeJS.GCFunction;
        setFlagsFromString("--no-expose-gc");
      }
      collector({ type: "minor", execution: "sync" });
    },
    trim: trimMemory,
  };
}
