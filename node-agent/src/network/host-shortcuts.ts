import type { Logger } from "@starling/base";
import { frameShortcuts } from "./frame-plan.ts";
import type { HostApplier } from "./host-applier.ts";
import { type MeshKind, meshShortcuts } from "./mesh-plan.ts";
import { type ShortcutOptions, Shortcuts } from "./shortcuts.ts";
import { Turn } from "./turn.ts";

/** All shortcuts of a host. They follow what is applied, beside it. */
export class HostShortcuts {
  readonly frames: Shortcuts<string, string, "ports">;
  readonly mesh: Shortcuts<string, string, MeshKind>;
  readonly #applier: HostApplier;
  readonly #log: Logger;
  readonly #onRefused: () => void;
  readonly #turn = new Turn(() => this.#apply());
  #closed = false;

  constructor(
    options: Omit<ShortcutOptions, "use"> & {
      readonly applier: HostApplier;
      readonly use: { readonly frames: boolean; readonly mesh: boolean };
      /** Called when the host could not be looked at. */
      readonly onRefused: () => void;
    },
  ) {
    this.frames = new Shortcuts(frameShortcuts, { ...options, use: options.use.frames });
    this.mesh = new Shortcuts(meshShortcuts, { ...options, use: options.use.mesh });
    this.#applier = options.applier;
    this.#log = options.log;
    this.#onRefused = options.onRefused;
  }

  /** Has the kernel have what is wanted by now. */
  follow(): Promise<void> {
    return this.#turn.run();
  }

  /** Resolves when nothing is under way. */
  idle(): Promise<void> {
    return this.#turn.idle();
  }

  async differences(): Promise<readonly string[]> {
    return [...(await this.frames.differences()), ...(await this.mesh.differences())];
  }

  forget(): void {
    this.frames.forget();
    this.mesh.forget();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#turn.idle();
    this.frames.close();
    this.mesh.close();
  }

  async #apply(): Promise<void> {
    if (this.#closed) return;
    try {
      const observation = await this.#applier.observation();
      const { frames, packets } = this.#applier.judged;
      await this.frames.apply(observation, !frames);
      await this.mesh.apply(observation, !packets);
    } catch (error) {
      this.#log.error("devices could not be looked at for eBPF programs", { error });
      this.#onRefused();
    }
  }
}
