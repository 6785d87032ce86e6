import { type ExitStatus, killLeftovers, readExitStatus, readShimState, Shim, ShimError } from "@starling/native";

/** A container's process as this swarmd finds it: under its shim, or ended. */
export type ContainerState =
  | { readonly t: "none" }
  | { readonly t: "created" | "running"; readonly shim: Shim; readonly pid: number; readonly startedAtMs: number }
  | { readonly t: "exited"; readonly exit: ExitStatus };

/**
 * The container of one bundle, found again by its shim's socket and, when that is silent, by the exit status that the
 * shim left. Keeps one connection.
 */
export class ContainerProcess {
  readonly #bundle: string;
  #shim: Shim | undefined;

  constructor(bundle: string) {
    this.#bundle = bundle;
  }

  async state(): Promise<ContainerState> {
    const shim = await this.#connect();
    if (shim !== undefined) {
      try {
        const { state, pid, startedAtMs } = await shim.state();
        if (state !== "exited") return { t: state, shim, pid, startedAtMs };
        await shim.wait();
      } catch (error) {
        if (!(error instanceof ShimError)) throw error;
        // The shim ended in between: its exit status is on disk, or it was killed.
      }
    }
    const exit = (await readExitStatus(this.#bundle)) ?? (await this.#exitOfKilledShim());
    return exit === undefined ? { t: "none" } : { t: "exited", exit };
  }

  /** Resolves when the container has ended, at once when it has. Undefined when there never was one. */
  async exit(): Promise<ExitStatus | undefined> {
    const state = await this.state();
    if (state.t === "none") return undefined;
    if (state.t === "exited") return state.exit;
    try {
      return await state.shim.wait();
    } catch (error) {
      if (!(error instanceof ShimError)) throw error;
    }
    return (await readExitStatus(this.#bundle)) ?? this.#exitOfKilledShim();
  }

  /** A shim that is killed takes its container along (parent-death signal); what is left of it is removed here. */
  async #exitOfKilledShim(): Promise<ExitStatus | undefined> {
    if ((await readShimState(this.#bundle)) === undefined) return undefined;
    await killLeftovers(this.#bundle);
    const error = "the container's shim was killed";
    return { exitCode: 137, signal: 9, oomKilled: false, startedAtMs: 0, finishedAtMs: 0, error };
  }

  /** Ends container and shim by all means. Files stay. */
  async destroy(): Promise<void> {
    const state = await this.state();
    if (state.t === "created" || state.t === "running") {
      await state.shim.kill().catch(ignoreEnded);
      await this.exit();
    }
    this.close();
    await killLeftovers(this.#bundle);
  }

  /** Gives up the connection; the container goes on. */
  close(): void {
    this.#shim?.close();
    this.#shim = undefined;
  }

  async #connect(): Promise<Shim | undefined> {
    if (this.#shim === undefined || this.#shim.ended) this.#shim = await Shim.connect(this.#bundle);
    return this.#shim;
  }
}

/** For operations on a process that may end at any moment: then there is nothing left to do. */
export function ignoreEnded(error: unknown): void {
  if (!(error instanceof ShimError)) throw error;
}
