/** A task that an image is being prepared for. */
export interface ImageUser {
  readonly taskId: string;
  readonly taskName: string;
}

/**
 * Keeps what is wanted apart from what is removed. Whoever is about to rely on a piece (an image, blob or layer) pins it first
 * and looks afterwards whether it is there; removals are decided and made unfindable while nobody can pin.
 */
export class ImageGuard {
  readonly #pins = new Map<string, number>();
  /** By task: the image that its container is being made from. */
  readonly #uses = new Map<string, { readonly user: ImageUser; readonly digest: string }>();
  /** Removals, one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #removing: Promise<unknown> | undefined;

  /** Keeps the pieces from being removed until the result is called. Waits while a removal is being made. */
  async pin(pieces: readonly string[]): Promise<() => void> {
    while (this.#removing !== undefined) await this.#removing;
    for (const piece of pieces) this.#pins.set(piece, (this.#pins.get(piece) ?? 0) + 1);
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      for (const piece of pieces) {
        const count = this.#pins.get(piece)! - 1;
        if (count === 0) this.#pins.delete(piece);
        else this.#pins.set(piece, count);
      }
    };
  }

  isPinned(piece: string): boolean {
    return this.#pins.has(piece);
  }

  /** The task's container is being made from the image, which is pinned, until `unuse`. */
  use(user: ImageUser, digest: string): void {
    this.#uses.set(user.taskId, { user, digest });
  }

  unuse(taskId: string): void {
    this.#uses.delete(taskId);
  }

  get uses(): readonly { readonly user: ImageUser; readonly digest: string }[] {
    return [...this.#uses.values()];
  }

  /** Runs a removal while nothing can be pinned. It shall be short: pulls wait for it. */
  async removing<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(async () => {
      const working = work();
      this.#removing = working.catch(() => undefined);
      try {
        return await working;
      } finally {
        this.#removing = undefined;
      }
    });
    this.#turn = done.catch(() => undefined);
    return await done;
  }
}

/** Pins that are let go of together. */
export class PinHold {
  readonly #guard: ImageGuard;
  readonly #releases: (() => void)[] = [];

  constructor(guard: ImageGuard) {
    this.#guard = guard;
  }

  async pin(pieces: readonly string[]): Promise<void> {
    this.#releases.push(await this.#guard.pin(pieces));
  }

  release(): void {
    for (const release of this.#releases.splice(0)) release();
  }
}
